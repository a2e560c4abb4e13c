"""Killed with -9 around every durable step of build, approval and export.

Whatever the moment: the next command works, the log verifies, what was drawn is spent, and nothing is half released.
"""

from __future__ import annotations

import datetime as dt
import gc
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest
from sqlmodel import select

import engine.workspace
from audit.failpoint import KILL, TRACE
from governance import builds
from governance.budget import Status as Money
from governance.builds import Status
from governance.principals import UNSAFE_VARIABLE
from governance.tables import DrawRow, ReservationRow
from tests.nursery import MARKS, Ended, Nursery
from tests.scenes import ANALYST, OFFICER, Shop, listed

pytestmark = pytest.mark.slow

KILLED = -9


@pytest.fixture(scope="module")
def built(made: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    shop = made.copy(tmp_path_factory.mktemp("built") / "shop")
    assert shop.run("build", "groups").code == 0
    return shop


@pytest.fixture(scope="module")
def released(built: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    shop = built.copy(tmp_path_factory.mktemp("released") / "shop")
    assert shop.run("approve", "groups", by=OFFICER).code == 0
    return shop


@pytest.fixture(autouse=True)
def a_minute_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next command does not come at once, so that nobody has to wait for a snapshot that a dead process was taking."""
    monkeypatch.setattr(engine.workspace, "now", lambda: dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1))


def variables(shop: Shop, by: str, **more: str) -> dict[str, str]:
    return {"CONSENTRIC_WORKSPACE": str(shop.root), UNSAFE_VARIABLE: by, MARKS: str(shop.root.parent / "marks"), **more}


def points(nursery: Nursery, shop: Shop, by: str, *words: str) -> list[str]:
    """Every failpoint that a command passes, in order, with its count: `name`, then `name#2` and so on."""
    trace = shop.root.parent / "trace"
    assert nursery.run(*words, env=variables(shop, by, **{TRACE: str(trace)})).code == 0
    seen: Counter[str] = Counter()
    found = []
    for name in trace.read_text().split():
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return found


def check(shop: Shop) -> None:
    """What must hold after any crash, before anything is mended and after."""
    assert shop.verify() == 0
    holds_spent(shop)
    assert shop.run("plan", "groups").code == 0
    mended = shop.run("doctor", "--repair")
    assert mended.code == 0, mended
    assert shop.verify() == 0
    holds_spent(shop)
    holds_releases(shop)
    hidden = shop.root / ".consentric"
    assert not list(hidden.glob("*/*.partial")) and not list(hidden.glob("spill-*"))


def holds_spent(shop: Shop) -> None:
    """Noise that was drawn was written down before, under a reservation that counts as spent and covers it."""
    with shop.workspace().store.read() as session:
        draws = session.exec(select(DrawRow).order_by(DrawRow.id)).all()  # type: ignore[arg-type]
        spent = {row.id: Fraction(row.mu_squared) for row in session.exec(select(ReservationRow)) if row.status != Money.RELEASED}
    for row in draws:
        spent[row.reservation] -= Fraction(row.mu_squared)  # a KeyError: drawn from what does not count as spent
    assert all(left >= 0 for left in spent.values())
    marks = shop.root.parent / "marks"
    drawn = [int(line) for line in marks.read_text().split()] if marks.exists() else []
    written = [row.draws for row in draws][-len(drawn) - 1 :]
    assert drawn in (written[: len(drawn)], written[1:])  # at most one was written down and not drawn any more


def holds_releases(shop: Shop) -> None:
    """A released build is whole; of any other nobody sees a member."""
    with shop.workspace().store.read() as session:
        found = builds.builds(session)
    for build in found:
        if build.status is Status.RELEASED:
            assert shop.whole(build.segment)
    if not any(build.status is Status.RELEASED for build in found):
        refused = shop.run("segments", "members", "groups")
        assert refused.code in (2, 3) and refused.out == ""


@dataclass(frozen=True, slots=True)
class Death:
    """A copy of a workspace in which a command was killed at a failpoint."""

    shop: Shop
    point: str
    ended: Ended


def deaths(nursery: Nursery, template: Shop, at: Path, by: str, words: Sequence[str], points: Sequence[str]) -> Iterator[Death]:
    """One for each of `points`; the next dies while the last is looked at. `{}` in `words` becomes the folder of the copy."""

    def die(number: int, point: str) -> Death:
        shop = template.copy(at / str(number) / "shop")
        here = [word.format(shop.root.parent) for word in words]
        return Death(shop, point, nursery.run(*here, env=variables(shop, by, **{KILL: point})))

    gc.collect()  # ends connections to the template here, and not in the other thread
    gc.freeze()
    ahead = ThreadPoolExecutor(1)
    try:
        for future in [ahead.submit(die, number, point) for number, point in enumerate(points)]:
            death = future.result()
            assert death.ended.code == KILLED, death
            yield death
            shutil.rmtree(death.shop.root.parent)
    finally:
        ahead.shutdown(cancel_futures=True)
        gc.unfreeze()


def some(found: list[str]) -> list[str]:
    """Each step once, and of those that repeat the last too."""
    most = Counter(point.partition("#")[0] for point in found)
    kept = set(most) | {f"{name}#{count}" for name, count in most.items()}
    return [point for point in found if point in kept]


def test_killed_around_every_durable_step_of_a_build(nursery: Nursery, made: Shop, tmp_path: Path) -> None:
    words = ("build", "groups")
    found = points(nursery, made.copy(tmp_path / "whole" / "shop"), ANALYST, *words)
    steps = ("snapshot-claim", "draw", "snapshot-result", "plan", "build-intent", "quarantine")
    assert {name.partition("#")[0] for name in found} >= {
        f"{s}:{w}" for s in steps for w in ("before-commit", "after-commit", "after-seal")
    }
    done = found.index("quarantine:after-commit")
    for death in deaths(nursery, made, tmp_path, ANALYST, words, some(found)):
        with death.shop.workspace().store.read() as session:
            status = [build.status for build in builds.builds(session)]
        assert status in ([[], [Status.BUILDING]] if found.index(death.point) < done else [[Status.QUARANTINED]]), death.point
        check(death.shop)
        if status == [Status.QUARANTINED]:
            assert death.shop.run("approve", "groups", by=OFFICER).code == 0
            assert death.shop.whole("groups")


def besides_checkpoints(found: list[str]) -> list[str]:
    """Without those inside the publication of a checkpoint, which is the same in all commands."""
    return [point for point in some(found) if not point.startswith("checkpoint:")]


def test_killed_around_every_durable_step_of_an_approval(nursery: Nursery, built: Shop, tmp_path: Path) -> None:
    words = ("approve", "groups")
    found = points(nursery, built.copy(tmp_path / "whole" / "shop"), OFFICER, *words)
    done = found.index("release:after-commit")
    for death in deaths(nursery, built, tmp_path, OFFICER, words, besides_checkpoints(found)):
        released = death.shop.newest("groups").status is Status.RELEASED
        assert released == (found.index(death.point) >= done), death.point
        check(death.shop)
        again = death.shop.run("approve", "groups", by=OFFICER)
        assert again.code == (3 if released else 0), (death, again)
        assert death.shop.whole("groups")


def test_killed_around_every_durable_step_of_an_export(nursery: Nursery, released: Shop, tmp_path: Path) -> None:
    words = ("segments", "export", "groups", "--to", "{}/x.csv")
    first = released.copy(tmp_path / "whole" / "shop")
    found = points(nursery, first, ANALYST, *words[:-1], str(tmp_path / "whole" / "x.csv"))
    done = found.index("export-file:after-rename")
    for death in deaths(nursery, released, tmp_path, ANALYST, words, besides_checkpoints(found)):
        file = death.shop.root.parent / "x.csv"
        assert file.exists() == (found.index(death.point) >= done), death.point
        if file.exists():
            assert listed(file) == death.shop.members("groups")  # whole, and its intent is in the log
            assert any(entry["action"] == "export.intended" for entry in death.shop.log())
        check(death.shop)
        assert death.shop.run(*words[:-1], str(file)).code == 0
        assert listed(file) == death.shop.members("groups")
        assert {path.name for path in file.parent.iterdir()} <= {"shop", death.shop.outside.name, "x.csv", "marks"}
