"""A build that is killed after any answer goes on with what was answered: the same model and membership, and nothing paid twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from audit.failpoint import KILL
from governance.budget import Status as Money
from governance.builds import Build, Status
from governance.principals import UNSAFE_VARIABLE
from governance.tables import DrawRow, ReservationRow
from tests.nursery import MARKS, SEED, Nursery
from tests.scenes import ANALYST, OFFICER, OTHER, SUBJECTS, Shop

pytestmark = pytest.mark.slow

FIRST = "answer:after-sync#3"
"""The first answer of a build; before it come the terms, and whose rows there are."""

NEXT = "answer:after-sync"
"""The first that a resumed build commits."""


def variables(shop: Shop, **more: str) -> dict[str, str]:
    marks = str(shop.root.parent / "marks")
    return {"CONSENTRIC_WORKSPACE": str(shop.root), UNSAFE_VARIABLE: ANALYST, MARKS: marks, SEED: "7", **more}


def learned(shop: Shop, segment: str) -> tuple[dict[str, Any], list[str]]:
    """What a build says, and who is in it; less what differs between any two builds: ids, salts, and times."""
    build = shop.newest(segment)
    assert build.status is Status.QUARANTINED
    own = {"passport", "report", "snapshot"}
    facts = {name: value for name, value in build.facts.items() if name not in own}
    passport = json.loads(build.facts["passport"])
    return facts | {"privacy": passport["privacy"], "utility": passport["utility"]}, sorted(shop.inside(build.id))


def drawn(shop: Shop, build: Build) -> list[str]:
    with shop.workspace().store.read() as session:
        return [row.path for row in session.exec(select(DrawRow).where(DrawRow.reservation == build.reservation))]


def open_reservations(shop: Shop) -> int:
    with shop.workspace().store.read() as session:
        return len(session.exec(select(ReservationRow).where(ReservationRow.status == Money.RESERVED)).all())


def answers(shop: Shop) -> list[Path]:
    return list((shop.root / ".consentric" / "answers").glob("*"))


def cut_short(nursery: Nursery, made: Shop, at: Path, segment: str = "groups", point: str = FIRST) -> Shop:
    shop = made.copy(at / "shop")
    assert nursery.run("build", segment, env=variables(shop, **{KILL: point})).code == -9
    return shop


@pytest.mark.parametrize(("segment", "step"), [("groups", 2), ("returners", 7)])
def test_killed_after_each_answer_it_ends_as_if_it_had_not_been(
    nursery: Nursery, made: Shop, tmp_path: Path, segment: str, step: int
) -> None:
    whole = made.copy(tmp_path / "whole" / "shop")
    assert nursery.run("build", segment, env=variables(whole)).code == 0
    shop = cut_short(nursery, made, tmp_path / "cut", segment)
    kills = 1
    while (code := nursery.run("build", segment, env=variables(shop, **{KILL: NEXT if step == 1 else f"{NEXT}#{step}"})).code) == -9:
        kills += 1
        assert shop.verify() == 0
    assert code == 0
    expected, build = drawn(whole, whole.newest(segment)), shop.newest(segment)
    assert drawn(shop, build) == expected and 1 + (len(expected) - 1) // step <= kills <= len(expected)
    assert learned(shop, segment) == learned(whole, segment)
    assert shop.spent() == whole.spent() and not answers(shop)
    assert [entry["facts"]["answers"] for entry in shop.log() if entry["action"] == "build.resumed"][:2] == [1, 1 + step]
    assert shop.run("doctor").code == 0 and shop.run("approve", segment, by=OFFICER).code == 0 and shop.whole(segment)


def test_what_may_have_been_drawn_is_never_drawn_again(nursery: Nursery, made: Shop, tmp_path: Path) -> None:
    """Killed between charge and answer: the noise may have been drawn, and a second one would be paid by nobody."""
    for number, point in enumerate(("draw:after-commit#4", "answer:before-write#4")):
        shop = cut_short(nursery, made, tmp_path / str(number), point=point)
        lost = shop.newest("groups")
        ran = shop.run("build", "groups")
        assert ran.code == 0 and "begin anew" in ran.err and lost.id in ran.err
        assert shop.newest("groups").id != lost.id and open_reservations(shop) == 1  # that of the lost one counts on, whole
        assert len({*drawn(shop, lost)}) == len(drawn(shop, lost)) and shop.verify() == 0
        assert shop.run("doctor", "--repair").code == 0 and not answers(shop) and not open_reservations(shop)


def test_a_resumed_build_needs_no_budget_and_assigns_who_is_admitted_now(nursery: Nursery, made: Shop, tmp_path: Path) -> None:
    template = made.copy(tmp_path / "little" / "shop")
    policy = template.workspace().policy("rules").model_dump(mode="json", exclude_unset=True, by_alias=True)
    policy["budgets"]["cap"]["epsilon"] = 2.5
    template.write("policies", policy, "rules")
    shop = cut_short(nursery, template, tmp_path / "cut", point="answer:after-sync#9")
    build = shop.newest("groups")
    gone = SUBJECTS[:3]
    shop.withdraw(gone)
    ran = shop.run("build", "groups")
    assert ran.code == 0 and f"go on with build {build.id}" in ran.err
    assert shop.newest("groups").id == build.id and shop.newest("groups").retrain_by is not None  # answers are of them too
    assert set(gone).isdisjoint(shop.inside(build.id))
    assert shop.run("build", "groups").code == 4  # a second one does not fit


def test_only_the_same_person_goes_on_with_the_same_documents(nursery: Nursery, made: Shop, tmp_path: Path) -> None:
    template = made.copy(tmp_path / "two" / "shop")
    template.appoint(analysts=[ANALYST, OTHER])
    shop = cut_short(nursery, template, tmp_path / "cut")
    first = shop.newest("groups").id
    assert shop.run("build", "groups", by=OTHER).code == 0 and shop.newest("groups").id != first
    assert shop.status(first) is Status.BUILDING  # ana's waits for her
    document = shop.workspace().segment("groups").model_dump(mode="json", exclude_unset=True, by_alias=True)
    shop.write("segments", document | {"model": {"type": "clusters", "k": 4}})
    assert shop.run("build", "groups").code == 0
    assert shop.status(first) is Status.BUILDING and [entry["action"] for entry in shop.log()].count("build.resumed") == 0
