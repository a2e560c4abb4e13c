"""How segments are made up of groups: the other way to read a noisy table, at no further cost.

The balance of a part is the least, over groups, of min(r/s, s/r), where r is the group's share of everybody and s its share of
the part: 1 where the part is a picture of the whole, 0 where a group is missing (after Chierichetti et al. 2017; for many groups
Bera et al. 2019). It decides nothing: whether a group's chances differ is judged by its rates (`audit.fairness`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from audit.intervals import Interval, critical
from audit.rates import Cell


@dataclass(frozen=True, slots=True)
class Balance:
    """One part. `value`: its balance, None where too few are certain; `shares`: of each group, in the table's order, at 95 % each."""

    outcome: str
    value: float | None
    shares: tuple[Interval, ...]


def balances(outcomes: Sequence[str], counts: Sequence[Sequence[float]], sigma: float) -> tuple[Balance, ...]:
    """Of each outcome, and last of everybody; `counts` (groups, outcomes), each with noise of deviation `sigma`."""
    columns = [*zip(*counts, strict=True), tuple(map(sum, counts))]
    sigmas = [sigma] * len(outcomes) + [sigma * math.sqrt(len(outcomes))]
    cells = [_cells(column, each) for column, each in zip(columns, sigmas, strict=True)]
    whole, z = [cell.rate(0.0).value for cell in cells[-1]], critical(0.95)
    return tuple(
        Balance(name, _balance(row, whole), tuple(cell.rate(z) for cell in row)) for name, row in zip([*outcomes, ""], cells, strict=True)
    )


def _cells(column: Sequence[float], sigma: float) -> list[Cell]:
    """Each group against all others of a part."""
    others = sigma * math.sqrt(max(1, len(column) - 1))
    return [Cell("", count, sum(column) - count, sigma, others) for count in column]


def _balance(row: Sequence[Cell], whole: Sequence[float]) -> float | None:
    shares = [(cell.rate(0.0).value, of_all) for cell, of_all in zip(row, whole, strict=True) if of_all > 0]
    if not row or not row[0].certain or not shares:
        return None
    return min(min(share / of_all, of_all / share) if share > 0 else 0.0 for share, of_all in shares)
