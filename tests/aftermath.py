"""What must hold of a workspace after a command in it was killed with -9: before anybody mends it, and once the next command ran.

1. The log verifies by the stand-alone verifier, for whoever holds a checkpoint from before the command.
2. What was acknowledged is in it, under a checkpoint that was durable then.
3. Nothing is there without its entry: builds, releases, consents, erasures, exports, notices, in the database or as files.
4. What is released is whole, and of what is not nobody keeps a list.
5. Whatever was drawn is spent; what was reserved counts until it is given back.
6. The same command works, or says why it need not; a sweep and `doctor --repair` leave nothing to mend.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from sqlmodel import Session, select

import engine.workspace
from audit import log as audit_log
from audit import verify
from engine.settings import FILE
from engine.workspace import Workspace
from governance.budget import Status as Money
from governance.builds import Status
from governance.principals import UNSAFE_VARIABLE
from governance.tables import BuildRow, ConsentRow, DrawRow, ExportRow, NoticeRow, ReservationRow
from tests.crashes import Scenario
from tests.scenes import ANALYST, OFFICER, Shop

LISTED = frozenset({Status.QUARANTINED, Status.RELEASED})


def hold(shop: Shop) -> None:
    """An outsider takes a checkpoint with them."""
    assert _findings(shop) == ()


def check(shop: Shop, scenario: Scenario, said: Sequence[str]) -> None:
    """All of it. `said`: the words of the command that was killed; `hold` came before it."""
    with _later(scenario.later):
        if scenario.makes:
            _again(shop, scenario, said)
            shop = scenario.subject(shop)
            if not (shop.root / FILE).exists():  # it said to take another folder: keys are made once
                return
        assert _findings(shop) == ()
        if not scenario.makes:
            _acknowledged(shop)
        if not (scenario.mends or scenario.makes):
            listed = shop.run("segments", "list")
            assert listed.code == 0, listed
            _look(shop, _recorded, _covered)
            if not scenario.unpaid:
                _look(shop, _drawn)
        _again(shop, scenario, said)
        if scenario.then:
            then = shop.run(*scenario.then, by=OFFICER)
            assert then.code == 0, then
        if (shop.root / ".consentric" / "notices").exists():  # what a recall left undone is the next sweep's
            swept = shop.run("sweep", by=OFFICER)
            assert swept.code == 0, swept
        mended = shop.run("doctor", "--repair")
        assert mended.code == 0, mended
        _look(shop, _recorded, _covered, _kept)
    assert _findings(shop) == ()


def _look(shop: Shop, *looks: Callable[[Session, Shop], None]) -> None:
    """At one moment of the database."""
    with shop.workspace().store.read() as session:
        for look in looks:
            look(session, shop)


def _again(shop: Shop, scenario: Scenario, said: Sequence[str]) -> None:
    """It works, or says why it need not."""
    again = shop.run(*said, by=scenario.by, env=scenario.variables(shop))
    assert again.code in (scenario.code, *scenario.again), again
    assert again.code == 0 or again.err, again


@contextmanager
def _later(days: int) -> Iterator[None]:
    """The next command comes a minute later, and so long after as the clock was ahead."""
    now = engine.workspace.now
    engine.workspace.now = lambda: dt.datetime.now(dt.UTC) + dt.timedelta(days=days, minutes=1)
    try:
        yield
    finally:
        engine.workspace.now = now


def _findings(shop: Shop) -> tuple[object, ...]:
    """What the stand-alone verifier finds wrong, with what it saw last; by the oldest key, as somebody has it who never looked again."""
    hidden = shop.root / ".consentric"
    key = (hidden / "keys" / "log.vkey").read_text().split()[0]
    seen = shop.root.with_name(f"{shop.root.name}.seen")
    return tuple(verify.verify_log(hidden / "metadata.db", hidden / "checkpoint", verify.parse_key(key), seen).findings)


def _acknowledged(shop: Shop) -> None:
    file = shop.root.parent / "acknowledged"
    lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
    if not lines:
        return
    workspace = Workspace.find(shop.root, {UNSAFE_VARIABLE: ANALYST})
    checkpoint = workspace.checkpoint()
    assert checkpoint is not None and checkpoint.size >= int(lines[-1][0])
    with workspace.store.read() as session:
        for size, root in lines:
            assert audit_log.root(session.connection(), int(size)).hex() == root


def _recorded(session: Session, shop: Shop) -> None:
    """Each row has its entry, each reservation that was written down its row, and each release its list."""
    told: Counter[tuple[str, str]] = Counter()
    for entry in audit_log.entries(session.connection()):
        for name in ("build", "reservation", "export", "notice", "batch"):
            if isinstance(found := entry.parsed["facts"].get(name), str):
                told[entry.parsed["action"], found] += 1
    missing = [each for each in _expected(session) if told[each] < 1]
    assert not missing, missing
    reserved = {row.id for row in session.exec(select(ReservationRow))}
    assert {of for action, of in told if action == "budget.reserved"} <= reserved
    batches = {of for action, of in told if action == "consent.append"}
    assert {*session.exec(select(ConsentRow.batch).distinct())} <= batches
    drawn = Counter(session.exec(select(DrawRow.reservation)))
    assert all(told["budget.drawn", reservation] == count for reservation, count in drawn.items())
    for row in session.exec(select(BuildRow).where(BuildRow.status == Status.RELEASED)):
        assert [*(shop.root / ".consentric" / "releases" / row.id).glob("membership.*")], row.id


def _expected(session: Session) -> Iterator[tuple[str, str]]:
    """(action, id) of entries that must be there, by the rows that are."""
    ends = {Status.REJECTED: "build.reject"}
    for build in session.exec(select(BuildRow)):
        yield "build.started", build.id
        if build.status != Status.BUILDING:
            yield ends.get(Status(build.status), f"build.{build.status}"), build.id
    for reservation in session.exec(select(ReservationRow)):
        yield ("budget.carried" if reservation.status == Money.CARRIED else "budget.reserved"), reservation.id
        if reservation.status in (Money.SETTLED, Money.RELEASED):
            yield f"budget.{reservation.status}", reservation.id
    for export in session.exec(select(ExportRow)):
        yield "export.intended", export.id
        if export.finished is not None:
            yield "export.finished", export.id
    for notice in session.exec(select(NoticeRow)):
        yield "notice.opened", notice.id
        if notice.acknowledged is not None:
            yield "notice.acknowledged", notice.id


def _drawn(session: Session, shop: Shop) -> None:
    """Noise that was drawn was written down before; at most one draw was written down and not drawn any more."""
    rows = session.exec(select(DrawRow).order_by(DrawRow.id)).all()  # type: ignore[arg-type]
    marks = shop.root.parent / "marks"
    drawn = [int(line) for line in marks.read_text().split()] if marks.exists() else []
    written = [row.draws for row in rows][-len(drawn) - 1 :]
    assert drawn in (written[: len(drawn)], written[1:])


def _covered(session: Session, _shop: Shop) -> None:
    """Draws lie in reservations that count."""
    spent = {row.id: Fraction(row.mu_squared) for row in session.exec(select(ReservationRow)) if row.status != Money.RELEASED}
    for row in session.exec(select(DrawRow)):
        spent[row.reservation] -= Fraction(row.mu_squared)  # a KeyError: drawn from what does not count as spent
    assert all(left >= 0 for left in spent.values())


def _kept(session: Session, shop: Shop) -> None:
    """Files are those of what is there, and none is half written; once it was mended."""
    hidden = shop.root / ".consentric"
    status: dict[str, Any] = {row.id: row.status for row in session.exec(select(BuildRow))}
    known = {row.id for row in session.exec(select(ExportRow))} | {row.id for row in session.exec(select(NoticeRow))}
    for folder in (hidden / "builds").glob("*"):
        assert status.get(folder.name) in LISTED, folder
    for folder in (hidden / "releases").glob("*"):
        assert status.get(folder.name) == Status.RELEASED, folder
    for file in (*(hidden / "exports").glob("*"), *(hidden / "notices").glob("*")):
        assert file.stem in known, file
    assert not [*hidden.glob("answers/*"), *hidden.glob("spill-*"), *hidden.rglob("*.partial")]
    assert not [path for path in _files(shop.root.parent) if path.name.endswith(".partial")]


def _files(folder: Path) -> Iterator[Path]:
    """What lies beside the workspace."""
    return (path for path in folder.iterdir() if path.is_file())
