"""Two plans around one withdrawal: whoever sees both must not see whether it happened. Nor may what makes admission quick delay one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlmodel import col, select

from engine import admitting
from governance import consent_snapshot
from governance.consent_snapshot import Base
from governance.tables import PlanRow
from tests.scenes import ADS, ANALYST, OFFICER, REFUSING, SUBJECTS, Shop

SOMEBODY = next(subject for subject in SUBJECTS if subject not in REFUSING)


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """One analyst has planned: the interval's histogram is taken."""
    shop = Shop.make(tmp_path_factory.mktemp("planned") / "shop")
    assert shop.run("plan", "groups").code == 0
    return shop


def seen(shop: Shop, *words: str) -> tuple[int, str, str]:
    """All that a plan shows, but for its own random name and where the workspace lies."""
    ran = shop.run("plan", "groups", *words)
    with shop.workspace().store.read() as session:
        newest = session.exec(select(PlanRow).order_by(col(PlanRow.created).desc())).first()
    assert newest is not None
    out, err = (text.replace(newest.id, "PLAN").replace(str(shop.root), "HERE") for text in (ran.out, ran.err))
    return ran.code, out, err


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), ("--json",), ("--compare", "0.5,1,2")])
def test_plans_around_one_withdrawal_are_the_same_to_the_byte(planned: Shop, tmp_path: Path, words: tuple[str, ...]) -> None:
    without, withdrawn = planned.copy(tmp_path / "without"), planned.copy(tmp_path / "with")
    assert withdrawn.run("consent", "withdraw", SOMEBODY).code == 0
    assert seen(withdrawn, *words) == seen(without, *words)
    # and it did happen
    assert withdrawn.run("consent", "show", SOMEBODY, by=OFFICER).out != without.run("consent", "show", SOMEBODY, by=OFFICER).out


def test_exact_counts_are_the_officers_and_each_look_is_logged(planned: Shop, tmp_path: Path) -> None:
    shop = planned.copy(tmp_path / "shop")
    assert shop.run("consent", "stats", by=ANALYST).code == 3
    before = shop.log()
    assert shop.run("consent", "stats", by=OFFICER).code == 0
    added = [entry for entry in shop.log()[len(before) :] if entry["action"] == "consent.counted"]
    assert [entry["principal"] for entry in added] == [OFFICER]


@contextmanager
def as_if_large(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Base]]:
    """Small shops use the columnar snapshot as large ones do; gives the copies that were believed."""
    used: list[Base] = []
    believed = consent_snapshot._believed

    def watched(*arguments: object) -> Base | None:
        found = believed(*arguments)  # type: ignore[arg-type]
        used.extend([found] if found else [])
        return found

    with monkeypatch.context() as patched:
        patched.setattr(admitting, "FEW", 0)
        patched.setattr(consent_snapshot, "_believed", watched)
        yield used


@pytest.mark.slow
def test_a_withdrawal_is_absent_from_every_read_path_at_once_although_the_snapshot_is_older(
    planned: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = planned.copy(tmp_path / "shop")
    consent_snapshot.refresh(shop.workspace().store, shop.workspace().hidden)
    with as_if_large(monkeypatch) as used:
        assert shop.run("build", "groups").code == 0
        assert shop.run("approve", "groups", by=OFFICER).code == 0
        everybody = shop.members("groups")
        gone = [subject for subject in SUBJECTS if subject not in REFUSING][:2]
        assert shop.pseudonyms(gone) <= everybody
        assert shop.run("consent", "withdraw", gone[0]).code == 0
        assert shop.run("consent", "withdraw", gone[1], ADS).code == 0
        assert shop.members("groups") == everybody - shop.pseudonyms(gone)
        assert shop.run("build", "groups").code == 0
        inside = shop.inside(shop.newest("groups").id)
        assert used and not {*gone} & {*inside} and len(inside) == len(everybody) - 2
