"""What was learned without differential privacy: one person's rows change nothing that is shown, and no way leads outside."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit import passport as passports
from governance.builds import Status
from tests.scenes import ADS, AUDITOR, GROUPS, OFFICER, OTHER, POLICY, REFUSING, RETURNERS, SUBJECTS, Shop

SOMEBODY = next(subject for subject in SUBJECTS if subject not in REFUSING)
ASSESSED = {"by": "the data protection officer", "reason": "for our own counter, which hands no list on"}
SEGMENTS = ("groups", "returners")


def allowing(**changes: Any) -> dict[str, Any]:
    """The shop's policy, with one more line."""
    purposes = {**POLICY["purposes"], ADS: {**POLICY["purposes"][ADS], "unsafe_without_privacy": ASSESSED}}
    return {**POLICY, "purposes": purposes, **changes}


def exact(segment: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A segment that asks for no privacy."""
    return {**segment, "privacy": "none", "fairness": [], "output": {"format": "csv"}, **changes}


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The policy allows it, and the interval's histogram is taken."""
    shop = Shop.make(tmp_path_factory.mktemp("exact") / "shop")
    shop.write("policies", allowing())
    for segment in (GROUPS, RETURNERS):
        shop.write("segments", exact(segment))
    assert [shop.run("plan", name).code for name in SEGMENTS] == [0, 0]
    return shop


@pytest.fixture(scope="module")
def released(planned: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Both built by the analyst and approved by the officer."""
    shop = planned.copy(tmp_path_factory.mktemp("released-exact") / "shop")
    for name in SEGMENTS:
        assert (shop.run("build", name).code, shop.run("approve", name, by=OFFICER).code) == (0, 0)
    return shop


def plant(shop: Shop) -> None:
    """One person, who bought little, bought for the most that there is on each of forty days."""
    file = shop.root / "data" / "purchases.parquet"
    table = pq.read_table(file)
    days = np.datetime64("2025-05-01") + np.arange(40)
    columns = {"customer": [SOMEBODY] * 40, "bought_on": days, "basket": [""] * 40, "amount": [Decimal("499.00")] * 40}
    rows = pa.table({**columns, "weight": [1.0] * 40, "street": [""] * 40}).cast(table.schema)
    pq.write_table(pa.concat_tables([table, rows]), file)


def seen(shop: Shop) -> str:
    """All that is shown of two builds, by anybody and to anybody, but for random names, salted digests, times and the place."""
    texts = []
    for name in SEGMENTS:
        for words, who in (
            (("plan", name, "--compare", "0.5,1"), "ana"),
            (("build", name), "ana"),
            (("segments", "show", name, "--json"), "ana"),
            (("approve", name), OFFICER),
            (("segments", "show", name), "ana"),
            (("fairness", name, "--json"), "ana"),
            (("segments", "diff", name, name), "ana"),
            (("segments", "score", name), "ana"),
            (("segments", "export", name, "--to", str(shop.root.with_name("list.csv")), "--destination", "mail"), "ana"),
        ):
            ran = shop.run(*words, by=who)
            texts += [f"{words} {ran.code}", ran.out, ran.err]
        (signed,) = (shop.root / ".consentric" / "releases" / shop.newest(name).id).glob("passport.json")
        texts.append(passports.dump(of(signed, shop)).decode())
    for words, who in ((("segments", "list"), "ana"), (("budget",), "ana"), (("audit", "log", "--last", "0", "--json"), AUDITOR)):
        ran = shop.run(*words, by=who)
        texts += [str(ran.code), ran.out, ran.err]
    text = "\n".join(texts).replace(str(shop.root.parent), "HERE")
    text = re.sub(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?(\+00:00|Z)?", "TIME", text)
    return re.sub(r"\b[0-9a-f]{16,64}\b|[0-9a-f]{12,}…", "RANDOM", text)


def of(file: Path, shop: Shop) -> passports.Passport:
    return passports.read(file.read_bytes(), shop.workspace().keys.signer.verifier)[0]


@pytest.mark.slow
def test_the_rows_of_one_person_change_nothing_that_is_shown(planned: Shop, tmp_path: Path) -> None:
    without, planted = planned.copy(tmp_path / "without" / "shop"), planned.copy(tmp_path / "planted" / "shop")
    plant(planted)
    assert seen(planted) == seen(without)
    assert kept(planted) != kept(without)  # and they did matter


def kept(shop: Shop) -> str:
    """Where the person is, in the list that nobody reads."""
    table = pq.read_table(shop.root / ".consentric" / "builds" / shop.newest("groups").id / "membership.parquet")
    return str(dict(zip(table["subject"].to_pylist(), table["segment"].to_pylist(), strict=True))[SOMEBODY])


def test_nothing_is_drawn_for_it_and_the_log_says_what_it_is(planned: Shop, released: Shop) -> None:
    assert released.ledger() == planned.ledger()
    assert not [*(released.root / "reports").glob("*.html")]
    found = [entry["facts"] for entry in released.log() if entry["action"] == "build.unsafe_without_privacy"]
    assert [(each["segment"], each["assessed_by"]) for each in found] == [(name, ASSESSED["by"]) for name in SEGMENTS]
    marked = [entry["facts"]["privacy"] for entry in released.log() if entry["action"] == "build.quarantined"]
    assert marked == ["none", "none"]
    assert "released_model" not in released.newest("groups").facts


def test_members_are_read_inside_and_nothing_is_exported(released: Shop, tmp_path: Path) -> None:
    assert len(released.members("groups")) == len(SUBJECTS) - len(REFUSING)
    rows = released.run("segments", "members", "groups", "--json").data["members"]
    assert {row["segment"] for row in rows} == {"part 1", "part 2", "part 3"}
    target = tmp_path / "list.csv"
    refused = released.run("segments", "export", "groups", "--to", str(target), "--destination", "mail", "--json", by=OFFICER)
    assert (refused.code, target.exists()) == (3, False)
    assert "without-privacy-stays-inside" in refused.out + refused.err
    assert released.run("segments", "score", "groups").code == 3


def test_its_passport_names_no_epsilon_and_verifies(released: Shop) -> None:
    folder = released.root / ".consentric" / "releases" / released.newest("groups").id
    signed = of(folder / "passport.json", released)
    assert (signed.privacy.epsilon, signed.privacy.transcript, signed.utility, signed.recipients) == (None, (), {}, ())
    assert signed.privacy.assurance.startswith("none: ") and signed.snapshot.epsilon is not None
    assert released.run("audit", "verify", str(folder / "passport.json")).code == 0


@pytest.mark.parametrize(
    ("policy", "segment", "code", "rule"),
    [
        (POLICY, exact(GROUPS), 3, "no permit"),
        (allowing(extends=["strict"]), exact(GROUPS), 3, "no permit"),
        (allowing(), exact(GROUPS, output={"destination": "mail"}), 3, "without-privacy-stays-inside"),
        (allowing(), exact(GROUPS, purpose="analytics.reporting"), 3, "no permit"),
        (allowing(), exact(RETURNERS, fairness=RETURNERS["fairness"]), 2, "fairness"),
        (allowing(fairness={**POLICY["fairness"], "on_inconclusive": "refuse"}), exact(GROUPS), 5, "fairness-gate"),
    ],
)
def test_a_plan_without_privacy_is_refused(
    planned: Shop, tmp_path: Path, policy: dict[str, Any], segment: dict[str, Any], code: int, rule: str
) -> None:
    shop = planned.copy(tmp_path / "shop")
    shop.write("policies", policy)
    shop.write("segments", segment)
    ran = shop.run("plan", segment["name"])
    assert (ran.code, rule in ran.out + ran.err) == (code, True), ran


@pytest.mark.slow
def test_somebody_else_always_approves_and_the_policy_of_today_decides(planned: Shop, tmp_path: Path) -> None:
    shop = planned.copy(tmp_path / "shop")
    shop.write("policies", allowing(approvals={"required": 0}))
    assert shop.run("build", "groups").code == 0
    assert shop.newest("groups").status is Status.QUARANTINED
    assert shop.run("approve", "groups", by=OTHER).code == 0
    assert shop.members("groups")
    shop.write("policies", POLICY)
    assert shop.run("segments", "members", "groups").code == 3


def test_a_subject_is_told_that_nothing_bounds_it(released: Shop, tmp_path: Path) -> None:
    file = tmp_path / "answer.html"
    assert released.run("rights", "access", SOMEBODY, "--html", str(file), by=OFFICER).code == 0
    assert "without differential privacy" in file.read_text()
