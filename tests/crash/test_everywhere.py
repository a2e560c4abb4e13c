"""Every command that takes durable steps, killed with -9 at every failpoint once, and at random moments.

`CRASHES` says how many random moments, and a fifth as many failpoints are taken, evenly spread; `make crash` asks for 1,000, and so
for every failpoint. Moments are drawn by `CRASH_SEED`, evenly over the time that all these commands take when nobody kills them.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from audit.failpoint import KILL, TRACE
from tests.aftermath import check, hold
from tests.crashes import SCENARIOS, Scenario, Templates
from tests.failpoints import names
from tests.homes import OURS
from tests.nursery import Ended, Nursery

pytestmark = pytest.mark.slow

CRASHES = int(os.environ.get("CRASHES", "50"))
SEED = int(os.environ.get("CRASH_SEED", "2026"))
SHARE = 5
"""Random moments for each failpoint, as long as not all are taken: other tests here kill at each step of the commands that matter most."""

KILLED = -9

JOINT = ("round-intent:", "round-outcome:", "joint-", "acknowledgement:", "collaboration:", "collaboration-file:")
APART = frozenset(name for name in names() if name.startswith(("witness:", *JOINT, *(f"{name}:" for name in OURS))))
"""Failpoints of what is no command: a witness is somebody else's program (`test_witness`), and rounds have several, a coordinator
(`test_joint`) and partners (`test_partner`)."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Whole:
    """A scenario that nobody killed: the failpoints that it passes, and its seconds."""

    scenario: Scenario
    points: tuple[str, ...]
    seconds: float


@pytest.fixture(scope="module")
def templates() -> Iterator[Templates]:
    made = Templates()
    yield made
    made.close()


@pytest.fixture(scope="module")
def whole(nursery: Nursery, templates: Templates) -> tuple[Whole, ...]:
    return tuple(_whole(nursery, templates, scenario) for scenario in SCENARIOS)


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Shows how far a long run is."""

    def show(line: str) -> None:
        if CRASHES > 100:
            with capsys.disabled():
                print(f"\r{line:110}", end="", flush=True)

    return show


def _whole(nursery: Nursery, templates: Templates, scenario: Scenario) -> Whole:
    with templates.copy(scenario) as shop:
        trace = shop.root.parent / "trace"
        ended = nursery.run(*scenario.said(shop), env=scenario.variables(shop, **{TRACE: str(trace)}))
        assert ended.code == scenario.code, (scenario.name, ended)
        return Whole(scenario, tuple(dict.fromkeys(trace.read_text().split())), ended.seconds)


def _die(nursery: Nursery, templates: Templates, scenario: Scenario, point: str = "", after: float | None = None) -> Ended:
    """Kill it and look at what is left."""
    with templates.copy(scenario) as shop:
        hold(shop)
        said = scenario.said(shop)
        deadly = {KILL: point} if point else {}
        ended = nursery.run(*said, env=scenario.variables(shop, **deadly), kill_after=after)
        assert ended.code in ((KILLED,) if point else (KILLED, scenario.code)), ended
        check(shop, scenario, said)
    return ended


def test_every_failpoint_is_passed_by_some_command(whole: tuple[Whole, ...]) -> None:
    passed = {point for each in whole for point in each.points}
    assert names() - APART <= passed, sorted(names() - APART - passed)
    assert passed <= names(), sorted(passed - names())


def test_killed_at_failpoints(nursery: Nursery, templates: Templates, whole: tuple[Whole, ...], say: Say) -> None:
    first = {point: each.scenario for each in reversed(whole) for point in each.points}
    points = sorted(first, key=lambda point: (first[point].name, point))
    taken = points[:: max(1, len(points) // max(1, CRASHES // SHARE))]
    for number, point in enumerate(taken, 1):
        try:
            _die(nursery, templates, first[point], point)
        except Exception as error:
            raise AssertionError(f"{first[point].name}, killed at {point}") from error
        say(f"{number}/{len(taken)} failpoints; {first[point].name}: {point}")


def test_killed_at_random_moments(nursery: Nursery, templates: Templates, whole: tuple[Whole, ...], say: Say) -> None:
    draw = random.Random(SEED)
    drawn = draw.choices(whole, [each.seconds for each in whole], k=CRASHES)
    for number, each in enumerate(drawn, 1):
        after, late = each.seconds * draw.random(), 0
        try:
            while _die(nursery, templates, each.scenario, after=after).code != KILLED:  # it is faster than it was: sooner
                after, late = after / 2, late + 1
                assert late < 10
        except Exception as error:
            raise AssertionError(f"{each.scenario.name}, killed after {after:.3f} s (seed {SEED}, crash {number})") from error
        say(f"{number}/{CRASHES} random moments; {each.scenario.name} after {after:.2f} s")
    say(f"{CRASHES} random moments met a command alive: every workspace held\n")
