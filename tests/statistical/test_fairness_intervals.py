"""What the intervals promise: coverage with sampling and noise, and verdicts that are rarely wrong at the boundary."""

from __future__ import annotations

import numpy as np
import pytest

from audit import intervals
from audit.fairness import Bounds, Confusion, GroupTable, Measure, Verdict, judge

REPEATS = 2000
Z95 = intervals.critical(0.95)


def noisy(rng: np.random.Generator, count: int, sigma: float) -> float:
    return float(count + rng.normal(0.0, sigma)) if sigma else float(count)


def table(rng: np.random.Generator, sizes: list[int], rates: list[float], sigma: float) -> GroupTable:
    selected = [int(rng.binomial(n, p)) for n, p in zip(sizes, rates, strict=True)]
    counts = tuple((noisy(rng, s, sigma), noisy(rng, n - s, sigma)) for n, s in zip(sizes, selected, strict=True))
    groups = tuple(f"g{i}" for i in range(len(sizes)))
    return GroupTable("age", groups, ("selected", "others"), counts, sigma, judged=("selected",))


@pytest.mark.parametrize(
    ("n", "p", "sigma"), [(60, 0.3, 0.0), (60, 0.3, 5.0), (200, 0.1, 8.0), (500, 0.05, 20.0), (2000, 0.5, 40.0), (300, 0.9, 15.0)]
)
def test_a_rate_is_covered(n: int, p: float, sigma: float) -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(REPEATS):
        s = int(rng.binomial(n, p))
        interval = intervals.rate(noisy(rng, s, sigma), noisy(rng, n - s, sigma), sigma, sigma, Z95)
        hits += interval.low <= p <= interval.high
    assert hits / REPEATS >= 0.93


@pytest.mark.parametrize(("n", "p", "sigma"), [(200, 0.3, 15.0), (2000, 0.5, 60.0)])
def test_an_interval_that_forgets_the_noise_would_not_cover(n: int, p: float, sigma: float) -> None:
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(REPEATS):
        s = int(rng.binomial(n, p))
        interval = intervals.rate(noisy(rng, s, sigma), noisy(rng, n - s, sigma), 0.0, 0.0, Z95)
        hits += interval.low <= p <= interval.high
    assert hits / REPEATS < 0.9


@pytest.mark.parametrize(("sizes", "rates"), [((120, 400), (0.3, 0.25)), ((80, 90), (0.5, 0.5)), ((1500, 300), (0.08, 0.12))])
@pytest.mark.parametrize("sigma", [0.0, 6.0])
def test_differences_and_ratios_are_covered_and_not_wasteful(sizes: tuple[int, int], rates: tuple[float, float], sigma: float) -> None:
    rng = np.random.default_rng(3)
    differences = ratios = 0
    for _ in range(REPEATS):
        first, second = (
            intervals.rate(noisy(rng, s, sigma), noisy(rng, n - s, sigma), sigma, sigma, Z95)
            for n, s in ((n, int(rng.binomial(n, p))) for n, p in zip(sizes, rates, strict=True))
        )
        gap, quotient = intervals.difference(first, second), intervals.ratio(first, second)
        differences += gap.low <= rates[0] - rates[1] <= gap.high
        ratios += quotient.low <= rates[0] / rates[1] <= quotient.high
    assert 0.93 <= differences / REPEATS <= 0.985
    assert 0.93 <= ratios / REPEATS <= 0.985


@pytest.mark.parametrize(
    ("sizes", "rates", "sigma"), [([400, 300, 80], [0.3, 0.3, 0.3], 5.0), ([1000, 200, 150, 90], [0.4, 0.35, 0.3, 0.25], 8.0)]
)
def test_ratios_to_the_best_group_hold_together(sizes: list[int], rates: list[float], sigma: float) -> None:
    rng = np.random.default_rng(4)
    truth = [p / max(rates) for p in rates]
    together = 0
    for _ in range(REPEATS // 2):
        found = [group.compared for group in judge(table(rng, sizes, rates, sigma), Bounds()).groups]
        together += all(c is None or c.low <= t <= c.high for c, t in zip(found, truth, strict=True))
    assert together / (REPEATS // 2) >= 0.93


@pytest.mark.parametrize(("sizes", "sigma"), [([400, 400], 0.0), ([400, 400], 10.0), ([2000, 150], 10.0), ([3000, 3000, 3000], 25.0)])
def test_at_the_boundary_of_the_ratio_verdicts_are_rarely_certain(sizes: list[int], sigma: float) -> None:
    rng = np.random.default_rng(5)
    rates = [0.5] * (len(sizes) - 1) + [0.4]
    verdicts = [judge(table(rng, sizes, rates, sigma), Bounds(min_ratio=0.8)).verdict for _ in range(REPEATS // 2)]
    assert verdicts.count(Verdict.PASS) / len(verdicts) <= 0.05
    assert verdicts.count(Verdict.FAIL) / len(verdicts) <= 0.05


@pytest.mark.parametrize("sigma", [0.0, 6.0])
def test_at_the_boundary_of_the_gap_verdicts_are_rarely_certain(sigma: float) -> None:
    rng = np.random.default_rng(6)
    passed = failed = 0
    for _ in range(REPEATS // 2):
        cells = [[noisy(rng, c, sigma) for c in rng.multinomial(1500, [0.4 * t, 0.6 * 0.1, 0.4 * (1 - t), 0.6 * 0.9])] for t in (0.7, 0.6)]
        tp, fp, fn, tn = (tuple(column) for column in zip(*cells, strict=True))
        confusion = Confusion(tp, fp, fn, tn, sigma)
        given = GroupTable("age", ("a", "b"), ("yes", "no"), ((500.0, 500.0), (500.0, 500.0)), sigma, ("yes",), confusion)
        gaps = [g.verdict for g in judge(given, Bounds(max_gap=0.1)).groups if g.measure is Measure.TRUE_POSITIVE]
        passed += all(v is Verdict.PASS for v in gaps)
        failed += Verdict.FAIL in gaps
    assert passed / (REPEATS // 2) <= 0.05
    assert failed / (REPEATS // 2) <= 0.05


def test_verdicts_are_reached_where_the_evidence_is_plain() -> None:
    rng = np.random.default_rng(7)
    equal = [judge(table(rng, [3000, 3000], [0.4, 0.4], 10.0), Bounds()).verdict for _ in range(200)]
    unequal = [judge(table(rng, [3000, 3000], [0.4, 0.2], 10.0), Bounds()).verdict for _ in range(200)]
    assert equal.count(Verdict.PASS) >= 199
    assert unequal.count(Verdict.FAIL) >= 199


@pytest.mark.parametrize("sigma", [0.0, 3.0, 30.0])
def test_groups_below_thirty_are_never_judged(sigma: float) -> None:
    """29 subjects look like 30 + 3 sigma only where noise of three standard deviations comes along (0.13 % a draw)."""
    rng = np.random.default_rng(8)
    judged = 0
    for _ in range(REPEATS):
        finding = judge(table(rng, [5000, 29], [0.5, 0.5], sigma), Bounds())
        judged += finding.groups[1].verdict is not Verdict.INCONCLUSIVE
        assert finding.verdict is not Verdict.PASS or sigma > 0
    assert judged / REPEATS <= 0.004
