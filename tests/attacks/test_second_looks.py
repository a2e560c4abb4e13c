"""Every look at who may be used is the whole look: by each person's own law, with children, and at columns as coarse as they must be.

A release that was lawful is put to a policy that has changed since; whoever may not be used any more is in no answer and no file.
"""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import admitting, planning, stages
from engine.access import access
from engine.admitting import admission_now, admitted_among
from engine.bench import Bench
from engine.sweep import sweep
from governance import consent, population
from governance.admission import Reason
from governance.consent import ConsentEvent, Status
from governance.noise import SystemNoise
from tests.scenes import ADS, CONTRACT, CUSTOMERS, FAIR, OFFICER, POLICY, REFUSING, SUBJECTS, Shop, listed

MINORS = frozenset(SUBJECTS[::3])
ABROAD = frozenset(SUBJECTS[1::30]) - MINORS - REFUSING
"""Who lives in the United States, and said yes."""

SHOP: dict[str, Any] = copy.deepcopy(CONTRACT)
SHOP["subject"]["child"] = "people.minor"
SHOP["tables"]["people"]["columns"]["minor"] = {"category": "user.childrens", "type": "boolean"}
TOLD = {"id": "minor", "effect": "permit", "categories": ["user.childrens"], "uses": ["admission"], "reason": "who is a child"}
ROOT: dict[str, Any] = POLICY | {
    "purposes": {ADS: {"basis": {"eu": "consent", "us": "consent"}}, FAIR: {"basis": {"default": "opt_out"}}},
    "rules": [*POLICY["rules"], TOLD],
}
BOUGHT = "user.behavior.purchase_history"
STEPS = {"band": 100, "truncate": "month", "prefix": 9}


def rules(*more: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    return ROOT | {"rules": [*ROOT["rules"], *more]} | changes


def forbidden(where: str, category: str = BOUGHT) -> dict[str, Any]:
    return {"id": "not-there", "effect": "forbid", "categories": [category], "jurisdictions": [where], "reason": "the law there says so"}


def children(treatment: str) -> dict[str, Any]:
    return {"eu": {"age": 16, "treatment": treatment, "unknown": "leave_out"}}


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    shop = Shop.make(tmp_path_factory.mktemp("second") / "shop")
    people = {"customer": SUBJECTS, "age": ["young", "old"] * (CUSTOMERS // 2), "minor": [subject in MINORS for subject in SUBJECTS]}
    pq.write_table(pa.table(people), shop.root / "data" / "people.parquet")
    shop.write("contracts", SHOP)
    shop.write("policies", ROOT)
    with shop.workspace().store.transaction("consent") as write:
        moved = [ConsentEvent(subject, ADS, Status.GIVEN, write.now, jurisdiction="us") for subject in sorted(ABROAD)]
        consent.append(write, moved)
    assert shop.run("build", "groups").code == 0
    assert shop.run("approve", "groups", by=OFFICER).code == 0
    assert shop.members("groups") == shop.pseudonyms(set(SUBJECTS) - REFUSING)
    return shop


@pytest.fixture
def out(released: Shop, tmp_path: Path) -> Shop:
    """`groups` was released, of everybody who consented."""
    return released.copy(tmp_path / "shop")


def left(shop: Shop, to: Path, gone: frozenset[str]) -> None:
    """No read, no export, no file after a sweep has any of `gone`, and all have everybody else."""
    stay = set(SUBJECTS) - REFUSING - gone
    assert shop.members("groups") == shop.pseudonyms(stay)
    assert shop.run("segments", "export", "groups", "--to", str(to), "--destination", "mail", by=OFFICER).code == 0
    assert listed(to) == shop.pseudonyms(stay)
    swept = sweep(shop.workspace())
    assert (swept.left, swept.problems) == (len(gone - REFUSING), ())
    assert set(shop.inside(shop.newest("groups").id)) == stay


def test_children_whom_a_policy_comes_to_leave_out_are_in_no_list(out: Shop, tmp_path: Path) -> None:
    out.write("policies", rules(children=children("exclude")))
    left(out, tmp_path / "list.csv", MINORS)


def test_people_whose_own_law_comes_to_forbid_it_are_in_no_list(out: Shop, tmp_path: Path) -> None:
    out.write("policies", rules(forbidden("us")))
    left(out, tmp_path / "list.csv", ABROAD)


def test_a_build_has_neither(out: Shop) -> None:
    out.write("policies", rules(forbidden("us"), children=children("exclude")))
    assert out.run("build", "groups").code == 0
    built = out.newest("groups")
    assert set(out.inside(built.id)) == set(SUBJECTS) - REFUSING - MINORS - ABROAD
    assert built.facts["digests"]["policy"] == out.workspace().policy("rules").digest()
    assert out.run("approve", "groups", by=OFFICER).code == 0
    assert out.run("segments", "score", "groups", "--as-of", "2025-07-01").code == 0
    assert set(out.inside(out.newest("groups").id)) == set(SUBJECTS) - REFUSING - MINORS - ABROAD


def test_a_childs_own_yes_counts_at_no_look_and_for_no_purpose(out: Shop) -> None:
    out.write("policies", rules(children=children("guardian")))
    workspace, kid, guarded = out.workspace(), *sorted(MINORS - REFUSING)[:2]
    with workspace.store.transaction("consent") as write:
        consent.grant(write, guarded, ADS, method="guardian")
    contract, policy, spec = workspace.contract("shop"), workspace.policy("rules"), workspace.segment("groups")
    now = admission_now(workspace, contract, policy, spec)
    assert (now.check(kid), now.check(guarded)) == (Reason.CHILD, Reason.ADMITTED)
    asked = pa.table({"subject": [kid, guarded]})
    with workspace.store.read() as session:
        assert admitted_among(workspace, contract, policy, ADS, asked, session).to_pylist() == [guarded]
    assert admitted_among(workspace, contract, policy, FAIR, asked).to_pylist() == []  # silence after notice is no child's yes


def test_the_fairness_audit_reads_nobody_whose_own_law_forbids_it(out: Shop) -> None:
    out.write("policies", rules(forbidden("us", "user.demographic.age_range")))
    workspace = out.workspace()
    prepared, subjects = planning.prepare(workspace, "returners"), sorted(SUBJECTS)[:60]
    plan, people = SimpleNamespace(prepared=prepared), SimpleNamespace(subjects=pa.array(subjects))
    found = stages.groups(Bench(workspace, SystemNoise(), lambda _: None), cast(Any, plan), cast(Any, people))
    assert {subject for subject, known in zip(subjects, np.asarray(found)[:, 0] >= 0, strict=True) if not known} == ABROAD & set(subjects)


def test_children_are_told_before_the_writers_lock_and_not_under_it(out: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source may take its time, and a withdrawal must not wait for it."""
    out.write("policies", rules(children=children("exclude")))
    calls = list[int]()

    def told(*asked: Any) -> pa.Table | None:
        calls.append(1)
        return population.children(*asked)

    monkeypatch.setattr(admitting, "children", told)
    assert out.run("segments", "export", "groups", "--to", str(tmp_path / "list.csv"), "--destination", "mail", by=OFFICER).code == 0
    assert calls == [1]


def test_where_children_cannot_be_told_nothing_is_read_and_withdrawals_still_leave(out: Shop) -> None:
    out.write("policies", rules(children=children("exclude")))
    (out.root / "data" / "people.parquet").unlink()
    read = out.run("segments", "members", "groups")
    assert read.code != 0 and read.out == "" and "people" in read.err
    someone = out.inside(out.newest("groups").id)[0]
    out.run("consent", "withdraw", someone)
    inside = out.inside(out.newest("groups").id)
    assert someone not in inside and len(inside) == CUSTOMERS - len(REFUSING) - 1
    assert "people" in sweep(out.workspace()).problems[0]
    answer = access(out.workspace(OFFICER), someone)  # which is due all the same, and says what is not in it
    assert "people" in answer.missing[0] and answer.uses == () and answer.consent


def test_a_policy_that_denies_the_whole_of_it_ends_reads_and_empties_no_list(out: Shop) -> None:
    before = out.inside(out.newest("groups").id)
    out.write("policies", rules(forbidden("eu")))
    assert out.run("segments", "members", "groups").code == 3
    assert sweep(out.workspace()).left == 0
    out.write("policies", ROOT)
    assert out.members("groups") == out.pseudonyms(before)


def test_what_was_built_from_finer_columns_than_the_policy_leaves_now_is_not_read(out: Shop, tmp_path: Path) -> None:
    coarse = {"id": "coarse", "effect": "generalise", "categories": [BOUGHT], "to": STEPS, "reason": "less is enough"}
    out.write("policies", rules(coarse))
    to = tmp_path / "list.csv"
    for words in (("members", "groups"), ("export", "groups", "--to", str(to)), ("score", "groups")):
        refused = out.run("segments", *words, by=OFFICER if words[0] == "export" else "ana")
        assert refused.code == 3 and "built-from-finer-columns" in refused.err and "`purchases.amount`" in refused.err
    assert not to.exists()
    assert out.run("build", "groups").code == 0
    assert out.run("approve", "groups", by=OFFICER).code == 0
    assert out.run("segments", "score", "groups", "--as-of", str(dt.date(2025, 7, 1))).code == 0
    assert out.members("groups")
