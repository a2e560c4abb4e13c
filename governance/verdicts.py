"""The rules of `governance.admission` as arithmetic on sorted columns: what each subject's events come to, all subjects at once.

Pure: columns in, a reason for each out. Facts are sorted, so that a subject is a slice and the latest of its events a maximum;
nothing is looked up by key, which is what takes the time with tens of millions. Where facts come from: `governance.facts` and
`governance.consent_snapshot`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import partial

import numpy as np
from numpy.typing import NDArray

from governance.consent import EVERY_PURPOSE, Status, called
from policies.policy import Policy
from policies.taxonomy import ancestors


class Reason(IntEnum):
    """Why a subject is admitted or not. The numbers are stable: they are the slots of the histogram."""

    ADMITTED = 0
    NEVER_ASKED = 1
    REQUESTED = 2
    REFUSED = 3
    WITHDRAWN = 4
    OBJECTED = 5
    EXPIRED = 6
    INVALIDATED = 7
    NO_NOTICE = 8
    NO_BASIS = 9
    CHILD = 10
    MERGED = 11


STRICTNESS: Mapping[Status, Reason] = {
    Status.REQUESTED: Reason.REQUESTED,
    Status.GIVEN: Reason.ADMITTED,
    Status.EXPIRED: Reason.EXPIRED,
    Status.INVALIDATED: Reason.INVALIDATED,
    Status.REFUSED: Reason.REFUSED,
    Status.WITHDRAWN: Reason.WITHDRAWN,
    Status.OBJECTED: Reason.OBJECTED,
}
"""Statuses, mildest first, and the reason that each leads to. A request answered at the same instant gives way to its answer."""

CODES: Mapping[str, int] = {status.value: code for code, status in enumerate(STRICTNESS)}
"""The number of a status in facts: below 8, the stricter the higher."""

UNKNOWN = CODES[Status.INVALIDATED]
"""How a status that nobody knows is read."""

GUARDIAN = "guardian"
"""The method of a consent that whoever holds parental responsibility gave (GDPR art. 8(1))."""

SEPARATOR = "\x1f"
"""Between a purpose and the controller whom an event names, in words: no data use holds it."""

NO_END = np.iinfo(np.int64).max
"""`until` of what does not expire."""

SEVERITY: Sequence[Reason] = (
    Reason.ADMITTED,
    Reason.NEVER_ASKED,
    Reason.REQUESTED,
    Reason.NO_NOTICE,
    Reason.EXPIRED,
    Reason.INVALIDATED,
    Reason.REFUSED,
    Reason.WITHDRAWN,
    Reason.OBJECTED,
    Reason.NO_BASIS,
    Reason.CHILD,
    Reason.MERGED,
)
"""Reasons, mildest first: the strictest of several is the last."""

_GIVEN, _EXPIRED, _INVALIDATED = (CODES[s] for s in (Status.GIVEN, Status.EXPIRED, Status.INVALIDATED))
_REFUSED, _WITHDRAWN = CODES[Status.REFUSED], CODES[Status.WITHDRAWN]
_OPT_OUT, _OPT_IN, _NO_BASIS = 0, 1, 2  # the strictest is the largest, so that it wins a tie
_NOTHING = 8  # above every status
_NEVER = -1
_SLICE = 1 << 19  # facts at a time: what is computed of them stays in the processor's cache

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """Events as columns (n_facts,), sorted by `ask`, then by when they happened, then by when they were received.

    `ask`: whose verdict the event bears on, from 0; `tied`: happened and was received when the fact before it was, of the same
    ask; `purpose`, `jurisdiction`: places in `Rules`, -1 where none is named; `until`: microseconds, `NO_END` where open.
    """

    ask: NDArray[np.int32]
    tied: NDArray[np.bool_]
    purpose: NDArray[np.int32]
    code: NDArray[np.int8]
    until: Numbers
    noticed: NDArray[np.bool_]
    guardian: NDArray[np.bool_]
    jurisdiction: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ask)

    def where(self, rows: NDArray[np.bool_] | slice) -> Facts:
        """Some of the facts, in order."""
        return Facts(*(getattr(self, name)[rows] for name in self.__slots__))

    def parts(self) -> Iterator[Part]:
        """Slices that part no subject."""
        start = 0
        while start < len(self):
            stop = min(start + _SLICE, len(self))
            stop = int(np.searchsorted(self.ask, self.ask[stop - 1], "right"))
            yield partial(self.where, slice(start, stop))
            start = stop


Part = Callable[[], Facts]
"""Gives some of the facts, with all that there are of each ask in it."""


@dataclass(frozen=True, slots=True, eq=False)
class Rules:
    """What the policy makes of purposes and jurisdictions, by their places in lists that the facts came with.

    A purpose is a word: a data use, and after a `SEPARATOR` the controller to whom alone an event speaks of it, where one is named.
    `least`, (n_lanes, n_purposes): the mildest code by which an event on a purpose reaches a lane. Lane 0 is the purpose
    itself, the others are those compatible with it. `basis`, (n_jurisdictions + 1,): how silence is read; the last is home's.
    """

    least: NDArray[np.int8]
    basis: NDArray[np.int8]

    def only_by_guardians(self) -> Rules:
        """For children: silence is a no everywhere."""
        return replace(self, basis=np.maximum(self.basis, _OPT_IN))


@dataclass(frozen=True, slots=True, eq=False)
class Verdicts:
    """`reason` of each ask (n_asks,), and whether any of its events bore on the purpose."""

    reason: NDArray[np.int8]
    spoke: NDArray[np.bool_]


def rules(policy: Policy, purpose: str, home: str, controller: str, purposes: Sequence[str], jurisdictions: Sequence[str]) -> Rules:
    """The rules for facts whose purposes and jurisdictions are places in these lists.

    `home` is of those who named no jurisdiction; `controller` is who asks, and words of another reach nothing.
    """
    known = policy.purposes.get(purpose)
    lanes = list(dict.fromkeys((purpose, *(known.compatible_with if known else ()))))
    least = np.full((len(lanes), len(purposes)), _NOTHING, np.int8)
    ours = [use if called(to) in ("", called(controller)) else None for use, _, to in (word.partition(SEPARATOR) for word in purposes)]
    for lane, use in enumerate(lanes):
        above = {EVERY_PURPOSE, *ancestors(use)}
        least[lane] = [0 if other == use else _REFUSED if other in above else _NOTHING for other in ours]

    def silence(jurisdiction: str) -> int:
        basis = known.basis_in(jurisdiction) if known else None
        return _NO_BASIS if basis is None else _OPT_IN if basis.opt_in else _OPT_OUT

    return Rules(least, np.array([silence(each) for each in (*jurisdictions, home)], np.int8))


def judge(parts: Iterable[Part], asks: int, by: Rules, moment: int | Numbers, guardians_only: bool = False) -> Verdicts:
    """The reason of each of `asks` at `moment` (microseconds; one, or one for each ask), by rules 1 to 5 of `governance.admission`.

    `guardians_only`: consent that nobody gave as a guardian counts for nothing. Parts are judged side by side.
    """
    silent = _reasons(*(np.array([value]) for value in (_NEVER, False, False, by.basis[-1])))[0]
    verdicts = Verdicts(np.full(asks, silent, np.int8), np.zeros(asks, np.bool_))

    def each(part: Part) -> None:
        for one in part().parts():
            _judge(verdicts, one(), by, moment, guardians_only)

    with ThreadPoolExecutor(os.cpu_count()) as workers:  # numpy and Parquet let go of the interpreter's lock
        list(workers.map(each, parts))
    return verdicts


def strictest(reasons: NDArray[np.int8], starts: Numbers) -> NDArray[np.int8]:
    """The strictest of the reasons of each slice, which begin at `starts`."""
    severity = np.argsort(np.array(SEVERITY, np.int8)).astype(np.int8)
    return np.array(SEVERITY, np.int8)[np.maximum.reduceat(severity[reasons], starts)] if len(starts) else reasons[:0]


def _judge(verdicts: Verdicts, facts: Facts, by: Rules, moment: int | Numbers, guardians_only: bool) -> None:
    """Fill in the verdicts of all asks that have a fact here."""
    starts = np.flatnonzero(np.diff(facts.ask, prepend=-1))
    asked = facts.ask[starts]
    now = moment if isinstance(moment, int) else moment[facts.ask]
    place = np.cumsum(~facts.tied, dtype=np.int32) << 3
    gave = facts.code == _GIVEN
    code = np.where(gave & (facts.until <= now), np.int8(_EXPIRED), facts.code)
    mark = place + code
    counts = (~gave | facts.guardian) if guardians_only else None

    def latest(which: NDArray[np.bool_], of: NDArray[np.int32] = mark) -> NDArray[np.int32]:
        return np.maximum.reduceat(np.where(which, of, np.int32(_NEVER)), starts)

    own = np.full(len(starts), _NEVER, np.int32)
    lent = stopped = own
    spoke = np.zeros(len(starts), np.bool_)
    for lane, least in enumerate(by.least):
        reach = code >= least[facts.purpose]
        if counts is not None:
            reach &= counts
        newest, granted, blocked = latest(reach), latest(reach & gave), latest(reach & (code >= _REFUSED))
        stands = np.where((blocked > granted) & (blocked >= 0), blocked, newest)
        spoke |= newest >= 0
        if lane == 0:
            own = np.where(stands >= 0, stands & 7, _NEVER)
        else:
            lent = np.maximum(lent, np.where((stands & 7 == _GIVEN) & (stands >= 0), newest, _NEVER))
            stopped = np.maximum(stopped, latest(reach & (code >= _WITHDRAWN), place))
    noticed = np.logical_or.reduceat(facts.noticed & (by.least[0][facts.purpose] == 0), starts)
    basis = by.basis[facts.jurisdiction]
    named = np.maximum.reduceat(np.where(facts.jurisdiction >= 0, place + basis, np.int32(_NEVER)), starts)
    basis = np.where(named >= 0, named & 7, by.basis[-1])
    verdicts.reason[asked] = _reasons(own, noticed, lent > (stopped | 7), basis)
    verdicts.spoke[asked] = spoke | (basis == _NO_BASIS)


_OF_CODE = np.array([*STRICTNESS.values(), Reason.NEVER_ASKED], np.int8)  # the last for no event at all, which is -1


def _reasons(own: NDArray[np.int32], noticed: NDArray[np.bool_], lent: NDArray[np.bool_], basis: NDArray[np.int8]) -> NDArray[np.int8]:
    by_status = _OF_CODE[own]
    out = basis == _OPT_OUT
    return np.select(
        [basis == _NO_BASIS, own >= _REFUSED, out & (own == _INVALIDATED), out & noticed, out, lent],
        [np.int8(Reason.NO_BASIS), by_status, by_status, np.int8(Reason.ADMITTED), np.int8(Reason.NO_NOTICE), np.int8(Reason.ADMITTED)],
        by_status,
    ).astype(np.int8)
