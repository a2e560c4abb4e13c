"""A partner that is killed with -9 at its durable steps and at random moments: its next process takes its seat again.

What is held every time, right after the kill and once the collaboration came to its end: no reply left that is in neither transcript nor
log; the same request never got two replies; whatever left was charged, once, and noise was never drawn twice for it; the build is released
at most once; and no question was lost that anybody paid, but where it died between the line in its transcript and the log. `CRASHES`
says how many random moments and steps are taken, a few of them; `make crash` takes every step.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from threading import Timer

import numpy as np
import pytest
from sqlmodel import select

from audit.failpoint import KILL, TRACE
from engine.partners import identity
from federated import rounds
from federated.acknowledgement import Acknowledgement
from federated.cohort import FederatedCohort
from federated.contract import Agreed
from federated.courier import InProcess
from federated.desk import Desk, MemoryBook
from federated.partner import Partner
from federated.replies import AbortedError, Code
from federated.seat import ShortMemory
from federated.transcript import Verified, verify
from governance.budget import Status as Money
from governance.builds import Status
from governance.door import MemoryMeter, ReservationId
from governance.principals import UNSAFE_VARIABLE
from governance.tables import DrawRow, ReservationRow
from policies.documents import Digest, digest_of
from tests.failpoints import names
from tests.fakes import ZeroNoise
from tests.homes import MARKS, OURS, Home, Homes
from tests.partners import Household
from tests.partnerships import NAME, House, houses, how_many, joined, outcome
from tests.scenes import ANALYST, Shop

pytestmark = pytest.mark.slow

CRASHES = int(os.environ.get("CRASHES", "50"))
TAKEN, MOMENTS = CRASHES // 16, CRASHES // 20
"""Steps, and random moments."""
SEED = int(os.environ.get("CRASH_SEED", "2026"))
SUMS = 2
"""That the coordinator wants."""

ALSO = ("build-intent", "draw", "quarantine", "build-files")


class GoneError(Exception):
    """The partner does not answer any more."""


@dataclass
class World:
    """A shop that takes part, another partner who holds nobody, and a coordinator who wants some sums. `said`: replies by request."""

    shop: Shop
    agreed: Agreed
    other: Desk
    said: dict[bytes, set[bytes]] = field(default_factory=dict)
    asked: int = 0
    number: int = 0
    sums: int = 0
    lost: int = 0
    acknowledged: bool = False

    def work(self, home: Home) -> None:
        """Until everything is there. Raises GoneError."""

        def mine(request: bytes) -> bytes:
            reply = home.answer(request)
            if not reply:
                raise GoneError
            self.said.setdefault(request, set()).add(reply)
            return reply

        courier = InProcess({"p0": mine, "p1": self.other.answer})
        grants = list(FederatedCohort(self.agreed, courier).grant().split(**{f"q{number}": 1.0 for number in range(9)}).values())
        while self.sums < SUMS:
            there, _ = rounds.greet(self.agreed, courier)
            if not self.number:  # else a round is under way, which is asked again from its first step
                self.asked, self.number = self.asked + 1, max(there.values())
            try:
                how_many(FederatedCohort(self.agreed, courier, self.number), grants[self.asked])
                self.sums += 1
            except AbortedError as aborted:
                self.lost += aborted.lost != {"p0": Code.REPLAYED}  # it had begun the round, its keys had not left: nobody charged
            self.number = 0
        acknowledged, silent = rounds.finish(self.agreed, courier, outcome().canonical())
        assert not silent, silent
        self.acknowledged = {*acknowledged} == {"p0", "p1"}

    def env(self, **more: str) -> Mapping[str, str]:
        """Of the partner's process."""
        marks = str(self.shop.root.parent / "marks")
        return {"CONSENTRIC_WORKSPACE": str(self.shop.root), UNSAFE_VARIABLE: ANALYST, MARKS: marks, **more}

    def transcript(self) -> Verified:
        """As it is, less what a crash left of a line; verified by its own last line where it has not ended."""
        path = self.shop.root / ".consentric" / "partnerships" / NAME / "transcript.jsonl"
        raw = path.read_bytes() if path.exists() else b""
        whole = raw[: raw.rfind(b"\n") + 1]
        found = verify(whole, identity.keys(self.shop.workspace()).verifier)
        return found if found.ended or not whole else verify(whole, identity.keys(self.shop.workspace()).verifier, found.head)

    def hold(self) -> None:
        """What must hold whenever."""
        assert self.shop.verify() == 0
        found = self.transcript()
        assert not found.entries or found.findings == ()
        left = {(entry.left.request, entry.left.payload) for entry in found.entries}
        logged = {entry["facts"]["payload"] for entry in self.shop.log() if entry["action"] == "collaboration.answered"}
        for request, replies in self.said.items():
            (reply,) = replies
            assert (digest_of(request), digest_of(reply)) in left and digest_of(reply) in logged
        vectors = [entry.left for entry in found.entries if entry.left.charged is not None]
        assert len({vector.payload for vector in vectors}) == len(vectors)
        marks = self.shop.root.parent / "marks"
        drawn = marks.read_text().split() if marks.exists() else []
        assert len({*drawn}) == len(drawn)  # as many noises as there are marks
        with self.shop.workspace().store.read() as session:
            charged = {row.path: Fraction(row.mu_squared) for row in session.exec(select(DrawRow)) if row.path.startswith(NAME)}
            reserved = [row for row in session.exec(select(ReservationRow)) if row.label == f"collaboration {NAME}"]
        assert {vector.path: vector.charged for vector in vectors}.items() <= charged.items()
        assert len(charged) <= len(drawn) and len(reserved) <= 1
        assert all(row.status != Money.RELEASED and sum(charged.values()) <= Fraction(row.mu_squared) for row in reserved)


@pytest.fixture(scope="module")
def homes() -> Iterator[Homes]:
    with Homes() as running:
        yield running


@pytest.fixture(scope="module")
def ready(made: Shop, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[House], Agreed]:
    both = houses(made, tmp_path_factory.mktemp("houses"))
    return both, joined(both)


def begin(ready: tuple[list[House], Agreed], at: Path) -> World:
    """A copy of its own."""
    (mine, other), contract = ready
    nobody = {"features": np.zeros((0, 3), np.int32)}
    household = Household(nobody, MemoryMeter(Fraction(100)), ReservationId("memory"), ZeroNoise())
    signer = identity.signer(other.shop.workspace())

    def finished(told: bytes) -> bytes:
        return Acknowledgement(contract.digest, digest_of(told), Digest("sha256:" + "0" * 64), Fraction(0)).signed(signer)

    desk = Desk(Partner(contract, signer, household, ShortMemory()), MemoryBook(), finished)
    return World(mine.shop.copy(at / "shop"), contract, desk)


def whole(homes: Homes, world: World, env: Mapping[str, str]) -> int | None:
    """Let it work until the end or its death; gives how its process ended."""
    try:
        with homes.home(NAME, env, world.shop.root.parent) as home:
            world.work(home)
    except GoneError:
        pass
    return home.code


def die(homes: Homes, world: World, point: str = "", after: float | None = None) -> None:
    """Kill it there or then, look at what is left, and let it come to its end."""
    code = whole(homes, world, world.env(**{KILL: point})) if after is None else _killed_after(homes, world, after)
    assert code == -9 or (after is not None and code == 0), (point, code)
    world.hold()
    if not world.acknowledged:
        code = whole(homes, world, world.env())
        assert code == 0, (point, code)
    if not world.transcript().ended:  # it died between its last reply and the end of its transcript
        assert whole(homes, world, world.env()) == 0
    world.hold()
    assert world.acknowledged and world.transcript().ended and world.sums == SUMS
    unsent = [entry["facts"]["unsent"] for entry in world.shop.log() if entry["action"] == "collaboration.resumed"]
    assert world.lost <= sum(unsent), (world.lost, unsent)
    build = world.shop.newest("groups")
    actions = [entry["action"] for entry in world.shop.log()]
    assert build.status is Status.QUARANTINED and actions.count("build.quarantined") == 1 == actions.count("budget.settled") - 1
    assert world.shop.inside(build.id)


def _killed_after(homes: Homes, world: World, seconds: float) -> int | None:
    try:
        with homes.home(NAME, world.env(), world.shop.root.parent) as home:
            timer = Timer(seconds, lambda: os.kill(home.child, signal.SIGKILL))
            timer.start()
            try:
                world.work(home)
            finally:
                timer.cancel()
    except GoneError:
        pass
    return home.code


@dataclass(frozen=True, slots=True)
class Whole:
    """One that nobody killed: the steps that it took, and its seconds."""

    points: tuple[str, ...]
    seconds: float


@pytest.fixture(scope="module")
def unharmed(homes: Homes, ready: tuple[list[House], Agreed], tmp_path_factory: pytest.TempPathFactory) -> Whole:
    at = tmp_path_factory.mktemp("whole")
    world = begin(ready, at)
    began = time.monotonic()
    assert whole(homes, world, world.env(**{TRACE: str(at / "trace")})) == 0
    seconds = time.monotonic() - began
    assert world.acknowledged
    world.hold()
    return Whole(tuple(dict.fromkeys((at / "trace").read_text().split())), seconds)


def test_every_step_of_a_partner_is_taken_here(unharmed: Whole) -> None:
    wanted = {name for name in names() if name.split(":")[0] in OURS and not name.startswith("collaboration-resumed")}
    assert wanted <= {*unharmed.points}, wanted - {*unharmed.points}


def test_killed_at_its_steps(homes: Homes, ready: tuple[list[House], Agreed], unharmed: Whole, tmp_path: Path) -> None:
    points = [name for name in unharmed.points if name.split(":")[0] in (*OURS, *ALSO)]
    again = ["answered:after-commit#4", "transcript:before-sync#5", "reply:after-rename#3", "round:after-sync#4", "draw:after-commit#2"]
    for number, point in enumerate((points + again)[:: max(1, (len(points) + len(again)) // TAKEN)]):
        at = tmp_path / str(number)
        at.mkdir()
        try:
            die(homes, begin(ready, at), point)
        except Exception as error:
            raise AssertionError(f"killed at {point}") from error
        shutil.rmtree(at)


def test_killed_at_random_moments(homes: Homes, ready: tuple[list[House], Agreed], unharmed: Whole, tmp_path: Path) -> None:
    draw = random.Random(SEED)
    for number in range(MOMENTS):
        at, after = tmp_path / str(number), draw.uniform(0, unharmed.seconds)
        at.mkdir()
        try:
            die(homes, begin(ready, at), after=after)
        except Exception as error:
            raise AssertionError(f"killed after {after:.3f} s of {unharmed.seconds:.3f}, moment {number} of seed {SEED}") from error
        shutil.rmtree(at)
