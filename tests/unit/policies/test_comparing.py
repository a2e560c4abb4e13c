"""Two policies: what opens and closes for columns, purposes, places and recipients, and which figures move."""

from __future__ import annotations

from policies import reading
from policies.comparing import Answer, Case, compare
from policies.contract import Contract
from policies.extending import extend
from policies.rules import Reading
from tests.houses import house

SHOP = Contract.model_validate(
    {
        "name": "c",
        "controller": "x",
        "subject": {"key": "id", "namespace": "n", "registered_in": "t"},
        "tables": {
            "t": {
                "source": "t.parquet",
                "columns": {
                    "id": {"category": "user.unique_id"},
                    "email": {"category": "user.contact.email"},
                    "born": {"category": "user.demographic.date_of_birth", "type": "date"},
                },
            }
        },
    }
)
NO_MAIL = {"id": "no-mail", "effect": "forbid", "categories": ["user.contact"], "reason": "nobody's address"}
EVERYTHING = house().rules[0].model_dump()


def test_a_policy_differs_from_itself_in_nothing() -> None:
    found = compare(house(), house(), [SHOP])
    assert found.nothing and not found.opened and not found.figures


def test_a_forbid_that_goes_opens_a_column() -> None:
    found = compare(house(rules=[EVERYTHING, NO_MAIL]), house(), [SHOP])
    assert {(change.case.column, change.case.purpose) for change in found.opened} == {
        ("t.email", "marketing"),
        ("t.email", "essential.legal_obligation"),
    }
    assert {change.case.place for change in found.opened} == {"eu", "us", "default"}
    assert {change.case.reading for change in found.opened} == {Reading.SEGMENT, Reading.FAIRNESS}
    assert not found.closed and found.rules == (("no-mail", "removed"),)
    (change,) = (c for c in found.opened if c.case == Case("c", "t.email", Reading.SEGMENT, "marketing", "eu", "workspace"))
    assert change.before == Answer(False, (), ("no-mail",)) and change.after == Answer(True, (), ("everything",))


def test_the_other_way_round_it_closes() -> None:
    there, back = compare(house(), house(rules=[EVERYTHING, NO_MAIL]), [SHOP]), compare(house(rules=[EVERYTHING, NO_MAIL]), house(), [SHOP])
    assert [change.case for change in there.closed] == [change.case for change in back.opened] and not there.opened


def test_a_pack_closes_and_reshapes_where_its_law_holds() -> None:
    gdpr = extend(house(), [reading.shipped_pack("gdpr")])
    found = compare(house(), gdpr, [SHOP])
    assert {(change.case.column, change.case.place) for change in found.closed} == {("t.email", "eu"), ("t.email", "uk")}
    assert {(change.case.column, change.after.steps) for change in found.reshaped} == {("t.born", ("the start of the year",))}
    assert ("cohort_floor", "40", "100") in found.figures and not found.opened


def test_a_destination_opens_and_figures_are_named() -> None:
    ours = {"ours": {"description": "us", "kind": "internal"}}
    found = compare(house(), house(destinations=ours, approvals={"required": 2}, children={"eu": {"age": 16}}), [SHOP])
    assert {change.case.destination for change in found.opened} == {"ours"}
    named = {name: (old, new) for name, old, new in found.figures}
    assert named["approvals.required"] == ("1", "2") and named["children.eu.age"] == ("-", "16")
    assert named["destinations.ours.kind"] == ("-", "internal")


def test_a_basis_that_goes_closes_a_place() -> None:
    less = house(purposes={"marketing": {"basis": {"us": "opt_out"}}, "essential.legal_obligation": {"basis": {"default": "consent"}}})
    found = compare(house(), less, [SHOP])
    assert {(change.case.purpose, change.case.place) for change in found.closed} == {("marketing", "eu"), ("marketing", "default")}
    assert ("purposes.marketing.basis.default", "consent", "-") in found.figures
