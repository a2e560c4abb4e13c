"""What a report says of how segments are told apart, and of what became of them since the last build: frozen values.

Not here: how they are found (others translate into these), the page (`templates/explanation.html`).
"""

from __future__ import annotations

from dataclasses import dataclass

from audit.intervals import Interval

CERTAIN = 3.0
"""Standard deviations of noise above which a count stands for somebody."""


@dataclass(frozen=True, slots=True)
class Named:
    """A segment by its stable id, and the name that it has."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Rule:
    """What tells the segment `part` from the rest, in `words`; empty where nothing does. Shares, each with the interval of its noise:
    of the segment that the rule `covers`, of everybody else, and `precision`: of those whom it covers, who are in the segment."""

    part: Named
    words: str
    covers: Interval
    others: Interval
    precision: Interval


@dataclass(frozen=True, slots=True)
class Movement:
    """Of the people of today: where the model of the last build puts them (rows), and where this one does (columns).

    The last row and the last column: in no segment. `counts` noisy with deviation `sigma`; `then` (rows - 1): noisy sizes at the last
    build, with deviation `then_sigma`.
    """

    origins: tuple[Named, ...]
    targets: tuple[Named, ...]
    counts: tuple[tuple[float, ...], ...]
    sigma: float
    then: tuple[float, ...]
    then_sigma: float

    @property
    def loose(self) -> bool:
        """Whether more than noise is in no segment, on either side."""
        return max(*self.counts[-1], *(row[-1] for row in self.counts)) > CERTAIN * self.sigma

    @property
    def most(self) -> float:
        """The largest count, for the scale of a plot."""
        return max(max(row) for row in self.counts)


@dataclass(frozen=True, slots=True)
class Drift:
    """How far the distribution of a feature lies from that of the last build: the share of people who would have to be moved to
    another bar (total variation distance), with the interval that noise leaves. `drifted`: farther than noise explains."""

    feature: str
    distance: Interval
    drifted: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """`rules`: one a segment. `previous`: the build that this one is compared with, if any, and what of its segments `stayed`, what
    `came` and what `went`; `movement` where the two can be counted against each other; `drift` by feature; `unlike`: features whose
    distributions cannot be compared, because their bounds differ."""

    rules: tuple[Rule, ...] = ()
    previous: str | None = None
    stayed: tuple[Named, ...] = ()
    came: tuple[Named, ...] = ()
    went: tuple[Named, ...] = ()
    movement: Movement | None = None
    drift: tuple[Drift, ...] = ()
    unlike: tuple[str, ...] = ()
