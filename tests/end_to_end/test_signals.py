"""Signals, from a file to who is admitted: what each one reaches, and what beats what."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from engine.settings import FILE
from tests.scenes import ADS, CONTRACT, FAIR, OFFICER, POLICY, Shop
from tests.signals import california, gpp, national, tc_string

OTHERS = "marketing.advertising.third_party.targeted"
VENDOR = 12
MADE = dt.datetime(2026, 3, 2, tzinfo=dt.UTC)
SEEN = "2026-03-05T09:00:00Z"
YES = tc_string(updated=MADE, consent=(3, 4), vendors=(VENDOR,), disclosed=(VENDOR,))
HIDDEN = tc_string(updated=MADE, consent=(3, 4), vendors=(VENDOR,))


@pytest.fixture
def signalled(shop: Shop) -> Shop:
    """A shop that is vendor 12, and whose policy asks for consent in the EU and lets people opt out in the US."""
    purposes = {use: {"basis": {"eu": "consent", "us": "opt_out"}} for use in (ADS, OTHERS)}
    shop.write("policies", POLICY | {"purposes": {**purposes, FAIR: {"basis": {"default": "opt_out"}}}})
    file = shop.root / FILE
    text = file.read_text()
    file.write_text(text.replace("vendor = 0", f"vendor = {VENDOR}") if "vendor = 0" in text else f"{text}\n[consent]\nvendor = {VENDOR}\n")
    return shop


def imported(shop: Shop, *rows: dict[str, str]) -> dict[str, Any]:
    folder = shop.root.parent  # outside the workspace, where an erasure does not reach
    path = folder / f"signals-{len([*folder.glob('signals*')])}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = shop.run("consent", "import", str(path), "--json", by=OFFICER)
    assert done.code == 0, done.err
    return done.data  # type: ignore[no-any-return]


def stands(shop: Shop, subject: str) -> dict[str, str]:
    """Why a subject may or may not be used for advertising, by purpose."""
    return {
        each["purpose"]: each["reason"]
        for each in shop.run("consent", "show", subject, "--json", by=OFFICER).data["now"]
        if each["purpose"] != FAIR
    }


def test_consent_by_tcf_admits_for_the_vendor_that_was_disclosed_alone(signalled: Shop) -> None:
    rows = [{"subject": subject, "at": SEEN, "tcf": text} for subject, text in (("ann", YES), ("bob", HIDDEN))]
    imported(signalled, *rows)
    assert stands(signalled, "ann") == {ADS: "admitted", OTHERS: "admitted"}
    assert stands(signalled, "bob") == {ADS: "invalidated", OTHERS: "invalidated"}


def test_another_vendors_consent_is_none(signalled: Shop) -> None:
    file = signalled.root / FILE
    file.write_text(file.read_text().replace(f"vendor = {VENDOR}", "vendor = 13"))
    imported(signalled, {"subject": "ann", "at": SEEN, "tcf": YES})
    assert stands(signalled, "ann")[ADS] == "refused"


def test_a_withdrawal_beats_an_older_string_however_often_that_is_seen(signalled: Shop) -> None:
    imported(signalled, {"subject": "ann", "at": SEEN, "tcf": YES})
    assert signalled.run("consent", "withdraw", "ann").code == 0
    assert stands(signalled, "ann")[ADS] == "withdrawn"
    imported(signalled, {"subject": "ann", "at": dt.datetime.now(dt.UTC).isoformat(), "tcf": YES})
    assert stands(signalled, "ann")[ADS] == "withdrawn"


def test_gpc_stops_sale_and_sharing_and_not_what_we_do_for_our_own_customers(signalled: Shop) -> None:
    asked = {"subject": "cem", "status": "requested", "event_time": "2026-01-01", "notice_version": "n1", "jurisdiction": "us-ca"}
    (signalled.root / "told.jsonl").write_text("".join(json.dumps(asked | {"purpose": use}) + "\n" for use in (ADS, OTHERS)))
    assert signalled.run("consent", "import", str(signalled.root / "told.jsonl"), by=OFFICER).code == 0
    assert stands(signalled, "cem") == {ADS: "admitted", OTHERS: "admitted"}
    imported(signalled, {"subject": "cem", "at": SEEN, "gpc": "1", "jurisdiction": "us-ca"})
    assert stands(signalled, "cem") == {ADS: "admitted", OTHERS: "objected"}


def test_gpc_beats_an_older_grant_and_california_beats_us_privacy(signalled: Shop) -> None:
    imported(
        signalled,
        {"subject": "dee", "at": SEEN, "tcf": YES, "gpc": "1", "jurisdiction": "us-ca"},
        {"subject": "eve", "at": SEEN, "gpp": gpp(s8=california(sharing=2)), "usp": "1NNN", "jurisdiction": "us-ca"},
        {"subject": "fay", "at": SEEN, "gpp": gpp(s8=california(sharing=2)), "usp": "1YYN", "jurisdiction": "us-ca"},
        {"subject": "gil", "at": SEEN, "gpp": gpp(s8=california(sharing=2))},
    )
    assert stands(signalled, "dee") == {ADS: "admitted", OTHERS: "objected"}
    assert stands(signalled, "eve")[OTHERS] == "admitted"  # told, and did not opt out
    assert stands(signalled, "fay")[OTHERS] == "objected"
    assert stands(signalled, "gil")[OTHERS] != "admitted"  # a section for California moves nobody out of the EU


def test_an_objection_outlives_a_section_that_nobody_knows(signalled: Shop) -> None:
    both = gpp(s7=national(targeted=1), s30="BAAA")
    imported(signalled, {"subject": "ivo", "at": SEEN, "gpp": both, "jurisdiction": "us-ca"})
    later = {"at": "2026-03-06T09:00:00Z", "gpp": gpp(s8=california(sharing=2)), "jurisdiction": "us-ca"}
    imported(signalled, {"subject": "ivo", **later}, {"subject": "new", **later})
    assert stands(signalled, "ivo")[OTHERS] == "objected" and stands(signalled, "new")[OTHERS] == "admitted"


def test_a_record_of_another_controller_admits_nobody(signalled: Shop) -> None:
    header = {"schema_version": "27560-2023", "record_id": "r"}
    event = {"event_time": "2026-03-01T10:00:00Z", "event_state": "given"}
    for number, (name, reason) in enumerate(((CONTRACT["controller"], "admitted"), ("Other Inc", "never asked"))):
        processing = {"pii_controller": name, "purposes": [{"purpose": ADS}]}
        record = json.dumps({"header": header, "pii_processing": processing, "events": [event]})
        imported(signalled, {"subject": f"jo{number}", "at": SEEN, "record": record}, {"subject": "kim", "at": SEEN, "gpc": "1"})
        assert stands(signalled, f"jo{number}")[ADS] == reason


def test_a_place_that_nobody_knows_is_no_option(signalled: Shop) -> None:
    for command in (["grant", "ann", ADS], ["decode", "1", "--kind", "gpc"]):
        ran = signalled.run("consent", *command, "--jurisdiction", "Germany", by=OFFICER)
        assert ran.code == 2 and "`--jurisdiction`: got `Germany`, expected a code of ISO 3166" in ran.err


def test_bad_strings_are_shown_by_line_and_counted_in_the_log(signalled: Shop) -> None:
    path = signalled.root / "mixed.csv"
    path.write_text(f"subject,at,tcf,gpc\nann,{SEEN},{YES},\nSECRET,{SEEN},{YES[:30]},\nbob,{SEEN},,1\n")
    done = signalled.run("consent", "import", str(path), by=OFFICER)
    assert done.code == 0
    assert "1 rejected: tcf: ends in the middle of a field" in done.err
    assert "row 2: `tcf`: ends in the middle of a field, at character 30" in done.err
    assert "SECRET" not in done.err + done.out and YES[:30] not in done.err
    entry = [entry for entry in signalled.log() if entry["action"] == "consent.append"][-1]
    assert entry["facts"]["rejected"] == {"tcf: ends in the middle of a field": 1}
    assert YES[:30] not in json.dumps(signalled.log())


def test_whoever_was_erased_does_not_come_back_with_an_old_signal(signalled: Shop) -> None:
    imported(signalled, {"subject": "gus-the-first", "at": SEEN, "tcf": YES})
    assert signalled.run("rights", "erase", "gus-the-first", "--yes", by=OFFICER).code == 0
    done = imported(signalled, {"subject": "gus-the-first", "at": SEEN, "tcf": YES}, {"subject": "hal", "at": SEEN, "gpc": "1"})
    assert done["suppressed"] > 10 and done["events"] == 3
    assert signalled.run("consent", "show", "gus-the-first", "--json", by=OFFICER).data["events"] == []


def test_an_objection_takes_members_out_at_once(out: Shop) -> None:
    gone = out.inside(out.newest("groups").id)[0]
    assert out.run("consent", "object", gone, ADS, by=OFFICER).code == 0
    assert not out.pseudonyms([gone]) & out.members("groups") and gone not in out.inside(out.newest("groups").id)


def test_a_signal_explains_itself(shop: Shop, tmp_path: Path) -> None:
    told = shop.run("consent", "decode", YES, "--vendor", str(VENDOR), "--json").data
    assert told["kind"] == "tcf" and told["decoded"]["vendors_consent"] == {"count": 1, "ranges": [[VENDOR, VENDOR]]}
    assert {each["data_use"] for each in told["says"] if each["status"] == "given"} >= {ADS, OTHERS}
    words = shop.run("consent", "decode", gpp(s8=california(sale=1, gpc=True)))
    assert "SaleOptOut: 1" in words.out and "objected" in words.out and words.code == 0
    for text, kind in (("1YNN", "usp"), ("1", "gpc"), ("{}", None), ("BOOzQoAOOzQoAAPAFSENCW", None)):
        ran = shop.run("consent", "decode", text, "--json")
        assert (ran.code, ran.data.get("kind")) == ((0, kind) if kind else (2, None))
    assert "TCF version 1, which ended in 2020, at character 0" in shop.run("consent", "decode", "BOOzQoAOOzQoAAPAFSENCW").err
    assert OTHERS in shop.run("consent", "signals").out
