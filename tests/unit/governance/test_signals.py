from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from typing import Any

import pytest

from governance.consent import ConsentEvent, Status
from governance.signals import telling
from governance.signals.bits import Fault, SignalError
from governance.signals.events import Kind, Sighting, events_of, read
from governance.signals.gpp import Unknown, read_gpp
from governance.signals.purposes import CROSS_CONTEXT, SALE, Controller, needs
from governance.signals.tcf import read_tcf
from governance.verdicts import GUARDIAN
from policies.policy import Basis
from tests.signals import california, gpp, national, tc_string

DAY = dt.datetime(2026, 4, 1, tzinfo=dt.UTC)
AT = DAY + dt.timedelta(days=3, hours=9)
OURS = 12
TARGETED, OTHERS, STORAGE = "marketing.advertising.first_party.targeted", "marketing.advertising.third_party.targeted", "functional.storage"
WHO = Controller(OURS, needs())


def events(at: dt.datetime = AT, who: Controller = WHO, jurisdiction: str | None = None, **signals: str) -> dict[str, ConsentEvent]:
    """By data use, of signals that can all be read; the strictest where there are several."""
    found, rejected = events_of(Sighting("ann", at, {Kind(kind): text for kind, text in signals.items()}, jurisdiction), who)
    assert not rejected
    order = [Status.GIVEN, Status.REQUESTED, Status.INVALIDATED, Status.REFUSED, Status.WITHDRAWN, Status.OBJECTED]
    return {event.purpose: event for event in sorted(found, key=lambda each: order.index(each.status))}


def statuses(**given: Any) -> dict[str, Status]:
    return {use: event.status for use, event in events(**given).items()}


def tcf(**fields: Any) -> str:
    return tc_string(**({"updated": DAY, "consent": (1, 3, 4), "vendors": (OURS,), "disclosed": (OURS,)} | fields))


def test_consent_to_a_purpose_and_vendor_is_consent_to_its_data_uses() -> None:
    said = events(tcf=tcf())
    event = said[TARGETED]
    assert (event.status, event.basis, event.event_time, event.method) == (Status.GIVEN, Basis.CONSENT, DAY, "tcf")
    assert event.notice_version == "tcf policy 5, vendor list 141" and event.raw_signal == tcf()
    assert json.loads(event.decoded or "") == {"cmp": 1, "gvl": 141, "policy": 5, "purposes": {"4": "given"}, "vendor": OURS}
    assert said[STORAGE].status is said[OTHERS].status is Status.GIVEN
    assert said["analytics.reporting.ad_performance"].status is Status.REFUSED


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"disclosed": None}, Status.INVALIDATED),  # TCF 2.3: an unknown disclosure means no
        ({"disclosed": (OURS + 1,)}, Status.INVALIDATED),
        ({"disclosed": None, "policy": 4}, Status.INVALIDATED),  # made after the move to 2.3, whatever it says
        ({"disclosed": None, "policy": 4, "updated": DAY.replace(year=2025)}, Status.GIVEN),
        ({"disclosed": (OURS + 1,), "policy": 2, "updated": DAY.replace(year=2021)}, Status.INVALIDATED),
        ({"vendors": (OURS + 1,)}, Status.REFUSED),
        ({"consent": (1, 3)}, Status.REFUSED),
        ({"specific": False}, Status.INVALIDATED),
        ({"restrictions": [(4, 0, OURS)]}, Status.INVALIDATED),
        ({"restrictions": [(4, 2, OURS)]}, Status.INVALIDATED),
        ({"restrictions": [(4, 3, OURS)]}, Status.INVALIDATED),
        ({"restrictions": [(4, 1, OURS)]}, Status.GIVEN),
        ({"restrictions": [(4, 0, OURS + 1)]}, Status.GIVEN),
    ],
)
def test_a_yes_that_does_not_reach_us_is_none(fields: dict[str, Any], status: Status) -> None:
    assert statuses(tcf=tcf(**fields))[TARGETED] is status


@pytest.mark.parametrize(
    ("purpose", "use", "policy", "status"),
    [
        (7, "analytics.reporting.ad_performance", 5, Status.REQUESTED),
        (4, TARGETED, 5, Status.REFUSED),  # since TCF 2.2 no legitimate interest serves purposes 3 to 6
        (4, TARGETED, 2, Status.REQUESTED),
        (1, STORAGE, 2, Status.REFUSED),
    ],
)
def test_legitimate_interest_is_notice_and_no_consent(purpose: int, use: str, policy: int, status: Status) -> None:
    text = tcf(consent=(), interest=(purpose,), vendors=(), vendors_interest=(OURS,), policy=policy)
    event = events(tcf=text)[use]
    assert event.status is status and event.basis is None and event.notice_version


def test_special_purposes_are_told_and_not_asked() -> None:
    assert statuses(tcf=tcf(consent=()))["essential.service.security"] is Status.REQUESTED
    assert "essential.service.security" not in statuses(tcf=tcf(disclosed=()))


def test_a_controller_that_is_no_vendor_is_a_publisher() -> None:
    publisher = Controller(None, needs())
    assert statuses(who=publisher, tcf=tcf(publisher=(4,)))[TARGETED] is Status.GIVEN
    assert statuses(who=publisher, tcf=tcf(publisher=()))[TARGETED] is Status.REFUSED
    assert statuses(who=publisher, tcf=tcf())[TARGETED] is Status.INVALIDATED  # a yes to vendors, and none to the publisher
    assert statuses(who=publisher, tcf=tcf(consent=()))[TARGETED] is Status.REFUSED


def test_a_policy_may_need_more_purposes_and_never_fewer() -> None:
    strict = Controller(OURS, needs([{TARGETED: [3, 7], "marketing.communications.email": [4]}]))
    assert statuses(who=strict, tcf=tcf(consent=(3, 4)))[TARGETED] is Status.REFUSED
    said = statuses(who=strict, tcf=tcf(consent=(3, 4, 7)))
    assert said[TARGETED] is said["marketing.communications.email"] is Status.GIVEN
    assert statuses(who=strict, tcf=tcf(consent=(3, 7)))[TARGETED] is Status.REFUSED  # 4, which the vendor list names, stays


def test_a_day_counts_from_its_first_moment_for_a_yes_and_until_its_last_for_a_no() -> None:
    said = events(tcf=tcf())
    assert said[TARGETED].event_time == DAY
    assert said["functional.service.improve"].event_time == DAY + dt.timedelta(days=1, microseconds=-1)
    seen = DAY + dt.timedelta(hours=10)
    assert events(at=seen, tcf=tcf())["functional.service.improve"].event_time == seen
    exact = DAY + dt.timedelta(hours=4)
    assert events(tcf=tcf(updated=exact))["functional.service.improve"].event_time == exact


def test_a_string_from_the_future_is_rejected() -> None:
    found, (rejected,) = events_of(Sighting("ann", AT, {Kind.TCF: tcf(updated=AT + dt.timedelta(days=2))}), WHO)
    assert not found and rejected.fault is Fault.FUTURE


def test_gpc_objects_to_sale_sharing_and_advertising_across_contexts_and_to_nothing_else() -> None:
    for jurisdiction in (None, "us-ca", "eu", "br"):
        said = events(jurisdiction=jurisdiction, gpc="1")
        assert {use: each.status for use, each in said.items()} == dict.fromkeys(SALE + CROSS_CONTEXT, Status.OBJECTED)
        assert TARGETED not in said and all(each.event_time == AT and each.jurisdiction == jurisdiction for each in said.values())
    assert "GDPR" in (events(jurisdiction="de", gpc="1")[OTHERS].decoded or "")
    assert "Cal. Civ. Code" in (events(jurisdiction="us-co", gpc="1")[OTHERS].decoded or "")
    assert events(gpc="0") == {}


@pytest.mark.parametrize(
    ("value", "status", "notice"),
    [(1, Status.OBJECTED, "gpp usca 1"), (2, Status.REQUESTED, "gpp usca 1"), (3, Status.INVALIDATED, "gpp usca 1")],
)
def test_an_opt_out_of_a_state(value: int, status: Status, notice: str) -> None:
    event = events(gpp=gpp(s8=california(sale=value)))["third_party_sharing"]
    assert (event.status, event.notice_version, event.method, event.event_time) == (status, notice, "gpp usca", AT)
    assert OTHERS not in events(gpp=gpp(s8=california(sale=value)))


def test_an_opt_out_that_nobody_was_told_of_has_no_notice() -> None:
    assert events(gpp=gpp(s8=california(sale=2, notice=2)))["third_party_sharing"].notice_version is None
    assert events(gpp=gpp(s8=california(sale=0))) == {}


@pytest.mark.parametrize("signals", [{"gpp": gpp(s8=california(sale=2, notice=2))}, {"usp": "1NNN"}])
def test_a_notice_that_the_signal_denies_is_not_that_of_the_sighting(signals: dict[str, str]) -> None:
    seen = Sighting("ann", AT, {Kind(kind): text for kind, text in signals.items()}, notice_version="n1", notice_hash="h1")
    found, _ = events_of(seen, WHO)
    assert found and {(event.status, event.notice_version, event.notice_hash) for event in found} == {(Status.REQUESTED, None, None)}
    silent, _ = events_of(replace(seen, signals={Kind.GPP: gpp(s8=california(sale=2, notice=0))}), WHO)
    assert {event.notice_version for event in silent} == {"n1"}


def test_a_state_is_heard_before_the_nation_and_that_before_us_privacy() -> None:
    both = gpp(s7=national(sale=3, targeted=3), s8=california(sale=2, sharing=2))
    event = events(gpp=both, usp="1YNN")["third_party_sharing"]
    assert (event.status, event.method) == (Status.REQUESTED, "gpp usca")  # California says so itself
    assert events(gpp=gpp(s7=national(sale=2)), usp="1YNN")["third_party_sharing"].method == "gpp usnat"
    assert events(gpp=gpp(s7=national(sale=2)), usp="1YNN")[OTHERS].method == "gpp uspv1"  # of this the nation says nothing
    assert statuses(usp="1YYN")["third_party_sharing"] is Status.OBJECTED
    assert statuses(usp="1-N-")["third_party_sharing"] is Status.REQUESTED and statuses(usp="1---") == {}


def test_no_section_softens_the_no_of_another() -> None:
    nation = national(sale=1, targeted=1)
    for text in (gpp(s7=nation, s8=california(sale=2, sharing=2)), gpp(s7=nation, s30="BAAA"), gpp(s7=nation, s8=california(sale=3))):
        said = statuses(gpp=text)
        assert said["third_party_sharing"] is said[OTHERS] is Status.OBJECTED
    assert statuses(gpp=gpp(s8=california(sale=2, sharing=2)), usp="1YYN")["third_party_sharing"] is Status.OBJECTED
    refused = statuses(gpp=gpp(s8=california(personal=1), s9="BVVVVVU"))  # Virginia: everything 1, or opted out
    assert refused["third_party_sharing"] is Status.OBJECTED


def test_no_string_moves_anybody_under_another_law() -> None:
    signals: dict[str, Any] = {"gpp": gpp(s7=national(sale=2), s8=california(sale=2, gpc=True), s30="BAAA"), "usp": "1YYN", "gpc": "1"}
    assert {event.jurisdiction for event in events(**signals).values()} == {None}
    assert {event.jurisdiction for event in events(jurisdiction="us-ca", **signals).values()} == {"us-ca"}


@pytest.mark.parametrize(("value", "status"), [(1, Status.REFUSED), (2, Status.REQUESTED), (3, Status.REFUSED), (0, Status.REQUESTED)])
def test_no_consent_to_incompatible_use_stops_what_serves_others(value: int, status: Status) -> None:
    said = statuses(gpp=gpp(s8=california(sale=2, sharing=2, personal=value)))
    assert said == dict.fromkeys(SALE + CROSS_CONTEXT, status)


def test_of_one_section_the_strictest_counts_and_gpc_always() -> None:
    assert statuses(gpp=gpp(s8=california(sale=2, sharing=1)))["third_party_sharing"] is Status.OBJECTED
    assert statuses(gpp=gpp(s8=california(sale=2, gpc=True)))["third_party_sharing"] is Status.OBJECTED
    assert statuses(gpp=gpp(s8=california(sale=2, gpc=False)))["third_party_sharing"] is Status.REQUESTED
    assert statuses(gpp=gpp(s8=california(sale=2, sharing=2)), gpc="1")[OTHERS] is Status.OBJECTED


def test_a_known_child_without_consent() -> None:
    teen = statuses(gpp=gpp(s8=california(children=(1, 0))))
    assert teen == dict.fromkeys(SALE + CROSS_CONTEXT, Status.REFUSED)
    virginia = "BVWSSVY"  # of the vectors: a known child, no consent
    assert statuses(gpp=gpp(s9=virginia))["*"] is Status.REFUSED
    assert "*" not in statuses(gpp=gpp(s8=california(children=(2, 2), sale=2)))


def test_a_section_that_nobody_knows_hides_no_other_and_is_no_yes() -> None:
    text = gpp(s8=california(sale=2), s30="BAAA")
    assert read_gpp(text).sections[1] == (30, Unknown(30, "BAAA"))
    assert statuses(gpp=text)["third_party_sharing"] is Status.INVALIDATED
    found, _ = events_of(Sighting("ann", AT, {Kind.GPP: text}), WHO)
    assert [event.status for event in found if event.purpose == "third_party_sharing"] == [Status.REQUESTED, Status.INVALIDATED]
    assert statuses(gpp=gpp(s4="BAAA")) == {}


RECORD: dict[str, Any] = {
    "header": {"schema_version": "27560-2023", "record_id": "r-1", "pii_principal_id": "ann"},
    "pii_processing": {
        "privacy_notice": "notice 7",
        "notice_hash": "sha256:77",
        "language": "en",
        "collection_method": "web form",
        "pii_controller": "Shop Ltd",
        "purposes": [{"purpose": TARGETED, "lawful_basis": "consent", "jurisdiction": "eu", "storage_locations": ["ie"]}],
    },
    "events": [
        {"event_time": "2026-02-01T10:00:00Z", "event_state": "given", "validity_duration": "P30D", "event_type": "explicit"},
        {"event_time": "2026-03-01T10:00:00+01:00", "event_state": "withdrawn"},
    ],
}


LATE = {"event_state": "given", "validity_duration": "P36500D"}


def with_(**changes: Any) -> str:
    return json.dumps(RECORD | changes)


def test_a_consent_record() -> None:
    given, withdrawn = events_of(Sighting("ann", AT, {Kind.RECORD: with_()}), WHO)[0]
    first = dt.datetime(2026, 2, 1, 10, tzinfo=dt.UTC)
    assert (given.status, given.event_time, given.valid_until) == (Status.GIVEN, first, first + dt.timedelta(days=30))
    assert (given.notice_version, given.notice_hash, given.controller) == ("notice 7", "sha256:77", "Shop Ltd")
    assert (given.jurisdiction, given.method, given.basis) == ("eu", "consent record: web form", Basis.CONSENT)
    assert (withdrawn.status, withdrawn.event_time) == (Status.WITHDRAWN, dt.datetime(2026, 3, 1, 9, tzinfo=dt.UTC))
    assert events(record=json.dumps({"receipt_id": "x", "consent_record": RECORD}))[TARGETED]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("{}", "header"),
        (with_(events=[]), "events"),
        (with_(events=[{"event_time": "2026-02-01T10:00:00", "event_state": "given"}]), "events.0.event_time"),
        (with_(events=[{"event_time": "2026-02-01T10:00:00Z", "event_state": "maybe"}]), "events.0.event_state"),
        (with_(events=[LATE | {"event_time": "9999-12-31T00:00:00Z"}]), "events.0.event_time"),
        (with_(events=[LATE | {"event_time": "9999-12-31T23:59:59-12:00"}]), "events.0.event_time"),
        (with_(pii_processing={"purposes": [{"purpose": OTHERS, "jurisdiction": "Germany"}]}), "pii_processing.purposes.0.jurisdiction"),
        (with_(pii_processing={"purposes": [{"purpose": "marketing.magic"}]}), "pii_processing.purposes.0.purpose"),
        (with_(pii_processing={"purposes": [{"purpose": OTHERS, "lawful_basis": "banana"}]}), "pii_processing.purposes.0.lawful_basis"),
        (json.dumps({"consent_record": RECORD | {"events": []}}), "consent_record.events"),
    ],
)
def test_a_record_that_is_none(text: str, field: str) -> None:
    with pytest.raises(SignalError) as refused:
        read(Kind.RECORD, text)
    assert (refused.value.fault, refused.value.field) == (Fault.RECORD, field)


def test_a_record_of_somebody_else_is_rejected() -> None:
    found, (rejected,) = events_of(Sighting("bob", AT, {Kind.RECORD: with_()}), WHO)
    assert not found and rejected.fault is Fault.PRINCIPAL


@pytest.mark.parametrize("name", ["Other Inc", "Shop"])
def test_what_another_controller_was_given_is_nothing_to_us_and_a_no_counts(name: str) -> None:
    who = Controller(OURS, needs(), frozenset({"Shop Ltd"}))
    processing = RECORD["pii_processing"] | {"pii_controller": name}
    found, rejected = events_of(Sighting("ann", AT, {Kind.RECORD: with_(pii_processing=processing)}), who)
    assert [event.status for event in found] == [Status.WITHDRAWN] and not rejected
    yes = with_(pii_processing=processing, events=RECORD["events"][:1])
    found, (refused,) = events_of(Sighting("ann", AT, {Kind.RECORD: yes}), who)
    assert not found and (refused.fault, refused.field) == (Fault.CONTROLLER, "pii_processing.pii_controller")


def test_whose_a_signal_is_may_stand_beside_it_and_in_other_letters() -> None:
    who = Controller(OURS, needs(), frozenset({"Shop Ltd"}))
    for name, ours in (("shop  LTD ", True), ("Other Inc", False), (None, True)):
        found, rejected = events_of(Sighting("ann", AT, {Kind.TCF: tcf()}, controller=name), who)
        assert (TARGETED in {event.purpose for event in found}) is ours and not rejected
        assert all(event.status.blocks for event in found) is not ours
    found, (refused,) = events_of(Sighting("ann", AT, {Kind.USP: "1YNN"}, controller="Other Inc"), who)
    assert not found and (refused.fault, refused.field) == (Fault.CONTROLLER, "controller")


def test_what_was_given_on_another_ground_is_notice_and_no_consent() -> None:
    for ground in (each for each in Basis if each is not Basis.CONSENT):
        processing = RECORD["pii_processing"] | {"purposes": [{"purpose": TARGETED, "lawful_basis": ground}]}
        found, _ = events_of(Sighting("ann", AT, {Kind.RECORD: with_(pii_processing=processing)}), WHO)
        assert [(event.status, event.basis) for event in found] == [(Status.REQUESTED, ground), (Status.WITHDRAWN, ground)]


def test_who_collected_a_record_does_not_make_it_a_guardians() -> None:
    processing = RECORD["pii_processing"] | {"collection_method": GUARDIAN}
    found, _ = events_of(Sighting("ann", AT, {Kind.RECORD: with_(pii_processing=processing)}), WHO)
    assert found and GUARDIAN not in {event.method for event in found}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"event_state": "withdrawn"', '"event_state": "withdrawn", "event_state": "given"'),
        ('"event_state": "withdrawn"', '"event_state": "withdrawn", "\\u0065vent_state": "given"'),
        ('"lawful_basis": "consent"', '"lawful_basis": "contract", "lawful_basis": "consent"'),
        ('{"header"', '{"events": [], "header"'),
    ],
)
def test_a_record_that_says_one_thing_twice_is_not_half_read(old: str, new: str) -> None:
    text = with_().replace(old, new)
    assert text != with_()
    with pytest.raises(SignalError) as refused:
        read(Kind.RECORD, text)
    assert refused.value.fault is Fault.TWICE and f'"{refused.value.field}"' in with_()
    assert read(Kind.RECORD, with_().replace('"language"', '"note": 1, "note": 2, "language"'))  # not read here


def test_a_signal_that_cannot_be_read_hides_no_other() -> None:
    found, (rejected,) = events_of(Sighting("ann", AT, {Kind.TCF: tcf()[:30], Kind.GPC: "1"}), WHO)
    assert {event.status for event in found} == {Status.OBJECTED}
    assert (rejected.kind, rejected.fault, rejected.offset) == (Kind.TCF, Fault.SHORT, 30)


@pytest.mark.parametrize(
    ("kind", "text", "fault", "offset"),
    [
        (Kind.TCF, "", Fault.EMPTY, 0),
        (Kind.TCF, "CPTt LA", Fault.CHARACTER, 4),
        (Kind.TCF, "CPTtLA", Fault.SHORT, 6),
        (Kind.TCF, tcf() + ".", Fault.SHORT, len(tcf()) + 1),
        (Kind.TCF, tcf() + "." + tcf().split(".")[1], Fault.SEGMENT, len(tcf()) + 1),
        (Kind.TCF, tcf() + ".4AAA", Fault.SEGMENT, len(tcf()) + 1),
        (Kind.TCF, "D" + tcf()[1:], Fault.VERSION, 0),
        (Kind.TCF, tcf(disclosed=None) + "B", Fault.TRAILING, len(tcf(disclosed=None))),
        (Kind.GPP, "DBABLA", Fault.SECTIONS, 6),
        (Kind.GPP, "DBABLA~", Fault.EMPTY, 7),
        (Kind.GPP, "CBABLA~x", Fault.HEADER, 0),
        (Kind.GPP, "DBABLA~CVVVkkkkkpFY.YA.YA", Fault.SEGMENT, 23),
        (Kind.GPP, "DBABLA~CVVVkkkkkp!Y.YA", Fault.CHARACTER, 17),
        (Kind.GPP, gpp(s8=california()) + "~1YNN", Fault.SECTIONS, 6),
        (Kind.USP, "1YQN", Fault.US_PRIVACY, 2),
        (Kind.USP, "1YN", Fault.SHORT, 3),
        (Kind.USP, "1YNNN", Fault.US_PRIVACY, 4),
        (Kind.GPC, "yes", Fault.GPC, 0),
        (Kind.RECORD, '{"header": }', Fault.RECORD, 11),
        (Kind.RECORD, '{\n "header": }', Fault.RECORD, 13),
    ],
)
def test_a_fault_is_told_with_its_place(kind: Kind, text: str, fault: Fault, offset: int) -> None:
    with pytest.raises(SignalError) as refused:
        read(kind, text)
    assert (refused.value.fault, refused.value.offset) == (fault, offset)


def test_vendor_ranges_that_are_none() -> None:
    with pytest.raises(SignalError) as refused:
        read_tcf(tcf(restrictions=[(4, 1, 0)]))
    assert refused.value.fault is Fault.VENDORS


def test_what_is_told_is_json_and_lines() -> None:
    for kind, text in (
        (Kind.TCF, tcf(publisher=(1,))),
        (Kind.GPP, gpp(s8=california(gpc=True))),
        (Kind.RECORD, with_()),
        (Kind.USP, "1YNN"),
    ):
        signal = read(kind, text)
        assert json.dumps(telling.plain(signal))
        assert len([*telling.lines(signal)]) >= 3
