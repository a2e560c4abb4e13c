from __future__ import annotations

from dataclasses import replace

import pytest

from audit import intervals
from audit.fairness import Bounds, Confusion, GroupFinding, GroupTable, Measure, Scores, Verdict, judge, unasked, worst


def two(first: tuple[float, float], second: tuple[float, float], sigma: float = 0.0, **more: object) -> GroupTable:
    return GroupTable("age", ("young", "old"), ("selected", "others"), (first, second), sigma, ("selected",), **more)  # type: ignore[arg-type]


def test_large_equal_groups_pass() -> None:
    finding = judge(two((3000, 7000), (2950, 7050)), Bounds())
    assert finding.verdict is Verdict.PASS
    assert all(g.compared is not None and g.compared.low >= 0.8 for g in finding.groups)


def test_large_unequal_groups_fail_and_are_named() -> None:
    finding = judge(two((3000, 7000), (1500, 8500)), Bounds())
    assert finding.verdict is Verdict.FAIL
    assert finding.reason == "the bounds are broken for old"
    best, worse = finding.groups
    assert best.verdict is Verdict.PASS and best.compared == intervals.Interval(1.0, 1.0, 1.0)
    assert worse.compared is not None and worse.compared.value == 0.5 and worse.compared.high < 0.8


def test_small_groups_are_inconclusive_and_say_what_could_have_been_seen() -> None:
    finding = judge(two((40, 60), (38, 62)), Bounds())
    assert finding.verdict is Verdict.INCONCLUSIVE
    group = finding.groups[1]
    assert group.detectable is not None and 0.4 < group.detectable < 0.8
    assert "on both sides of the bound of 0.80" in group.reason
    assert f"the smallest gap that could have been seen is a ratio of {group.detectable:.2f}" in group.reason


def test_the_same_table_with_noise_is_no_longer_a_pass() -> None:
    assert judge(two((300, 700), (300, 700)), Bounds(min_ratio=0.7)).verdict is Verdict.PASS
    assert judge(two((300, 700), (300, 700), sigma=60.0), Bounds(min_ratio=0.7)).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(("others", "sigma", "judged"), [(14, 0.0, False), (15, 0.0, True), (500, 120.0, False), (526, 116.0, True)])
def test_thirty_must_be_certain(others: float, sigma: float, judged: bool) -> None:
    finding = judge(two((1000, 1000), (15, others), sigma), Bounds())
    assert (finding.groups[1].compared is not None) is judged
    if not judged:
        assert finding.verdict is Verdict.INCONCLUSIVE
        assert "fewer than 30 of them certain" in finding.groups[1].reason


def test_a_tiny_group_is_no_reference_and_keeps_the_attribute_from_passing() -> None:
    table = GroupTable("age", ("a", "b", "c"), ("yes", "no"), ((5000, 5000), (5000, 5000), (20, 0)), 0.0, ("yes",))
    finding = judge(table, Bounds())
    assert [g.verdict for g in finding.groups] == [Verdict.PASS, Verdict.PASS, Verdict.INCONCLUSIVE]
    assert finding.verdict is Verdict.INCONCLUSIVE


def test_the_worst_verdict_counts() -> None:
    passed, failed = judge(two((3000, 7000), (3000, 7000)), Bounds()), judge(two((3000, 7000), (300, 9700)), Bounds())
    unsure = judge(two((4, 6), (4, 6)), Bounds())
    assert worst([passed, passed]) is Verdict.PASS
    assert worst([passed, unsure]) is Verdict.INCONCLUSIVE
    assert worst([unsure, failed, passed]) is Verdict.FAIL
    assert worst([]) is Verdict.INCONCLUSIVE


def test_a_single_group_has_nothing_to_compare_with() -> None:
    finding = judge(GroupTable("age", ("all",), ("yes", "no"), ((500, 500),), 0.0), Bounds())
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert finding.groups[0].reason.startswith("no other group is large enough to compare with; no gap, however large,")


def test_every_cluster_is_judged_and_asks_for_more_certainty() -> None:
    counts = ((300.0, 300.0, 400.0), (300.0, 300.0, 400.0))
    finding = judge(GroupTable("age", ("a", "b"), ("c1", "c2", "c3"), counts, 0.0), Bounds())
    assert [(g.outcome, g.group) for g in finding.groups] == [(c, g) for c in ("c1", "c2", "c3") for g in ("a", "b")]
    alone = judge(GroupTable("age", ("a", "b"), ("c1", "c2", "c3"), counts, 0.0, ("c1",)), Bounds())
    among, single = finding.groups[1].compared, alone.groups[1].compared
    assert among is not None and single is not None and among.low < single.low


def test_error_rates_are_compared_by_gap_with_their_own_denominators() -> None:
    confusion = Confusion((800.0, 500.0), (100.0, 5.0), (200.0, 500.0), (900.0, 15.0), 0.0)
    finding = judge(two((3000, 7000), (3000, 7000), confusion=confusion), Bounds())
    by = {(g.measure, g.group): g for g in finding.groups}
    missed = by[Measure.TRUE_POSITIVE, "old"]
    assert missed.compared is not None and missed.compared.value == pytest.approx(0.3)
    assert missed.verdict is Verdict.FAIL and finding.verdict is Verdict.FAIL
    assert by[Measure.TRUE_POSITIVE, "young"].verdict is Verdict.PASS
    assert by[Measure.FALSE_POSITIVE, "old"].verdict is Verdict.INCONCLUSIVE
    assert by[Measure.FALSE_POSITIVE, "old"].subjects == 20.0


def test_coverage_is_the_share_of_known_groups() -> None:
    assert judge(two((300, 700), (300, 700), unknown=500.0), Bounds()).coverage == 0.8


def test_tables_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="expected 2 x 2"):
        GroupTable("age", ("a", "b"), ("yes", "no"), ((1.0, 2.0),), 0.0)
    with pytest.raises(ValueError, match="`judged` of `age`"):
        GroupTable("age", ("a",), ("yes", "no"), ((1.0, 2.0),), 0.0, ("maybe",))
    with pytest.raises(ValueError, match="`confusion` of `age`"):
        two((1, 2), (3, 4), confusion=Confusion((1.0,), (1.0,), (1.0,), (1.0,), 1.0))


def scored(positives: tuple[float, float], predicted: tuple[float, float], n: float = 20_000.0, sigma: float = 0.0) -> GroupTable:
    """Two groups of `n` each, of whom a fifth is selected; mean scores are `predicted`, the label comes true for `positives`."""
    cells = [(0.2 * n * p, 0.2 * n * (1 - p), 0.8 * n * p, 0.8 * n * (1 - p)) for p in positives]
    sums = [tuple(count * (mean - 0.5) for count in each) for each, mean in zip(cells, predicted, strict=True)]
    tp, fp, fn, tn = zip(*cells, strict=True)
    confusion = Confusion(tp, fp, fn, tn, sigma, "on everybody")
    scores = Scores(tuple(zip(*sums, strict=True)), 0.3, sigma)  # type: ignore[arg-type]
    counts = tuple((a + b, c + d) for a, b, c, d in cells)
    return GroupTable("age", ("young", "old"), ("selected", "others"), counts, sigma, ("selected",), confusion, 0.0, scores)


def calibration(table: GroupTable, max_gap: float = 0.1) -> list[GroupFinding]:
    return [group for group in judge(table, Bounds(max_gap=max_gap)).groups if group.measure is Measure.CALIBRATION]


def test_calibration_is_what_came_true_less_what_was_predicted_in_either_direction() -> None:
    honest, low = calibration(scored((0.3, 0.5), (0.3, 0.3)))
    assert honest.verdict is Verdict.PASS and low.verdict is Verdict.FAIL
    assert (low.rate.value, low.predicted) == (pytest.approx(0.5), pytest.approx(0.3))
    assert low.compared is not None and low.compared.value == pytest.approx(0.2)
    _, high = calibration(scored((0.3, 0.1), (0.3, 0.3)))
    assert high.compared is not None and high.compared.value == pytest.approx(-0.2) and high.verdict is Verdict.FAIL
    assert "between -0.2" in high.reason


def test_calibration_through_noise_is_inconclusive_and_says_what_it_could_have_seen() -> None:
    for group in calibration(scored((0.3, 0.3), (0.3, 0.3), n=400, sigma=20.0)):
        assert group.verdict is Verdict.INCONCLUSIVE and group.detectable is not None and group.detectable > 0.1
        assert f"could have been seen at this size and noise is {100 * group.detectable:.0f} percentage points" in group.reason
    for group in calibration(scored((0.3, 0.3), (0.3, 0.3), n=25)):
        assert group.compared is None and group.detectable is None and "no gap, however large" in group.reason


def test_more_comparisons_ask_for_more_certainty_and_are_counted() -> None:
    table = scored((0.3, 0.3), (0.3, 0.3))
    finding = judge(table, Bounds())
    assert finding.comparisons == 3 * 1 + 2 and finding.about == "on everybody"
    alone = judge(replace(table, confusion=None, scores=None), Bounds())
    assert alone.comparisons == 1
    wide, narrow = finding.groups[1].compared, alone.groups[1].compared
    assert wide is not None and narrow is not None and wide.low < narrow.low


def test_what_was_not_asked_is_no_pass() -> None:
    finding = unasked("age × sex", "too many", Bounds())
    assert finding.verdict is Verdict.INCONCLUSIVE and worst([judge(two((3000, 7000), (3000, 7000)), Bounds()), finding]) is finding.verdict


def test_scores_without_a_confusion_are_refused() -> None:
    with pytest.raises(ValueError, match="got none, expected one"):
        replace(scored((0.3, 0.3), (0.3, 0.3)), confusion=None)
    with pytest.raises(ValueError, match="`scores` of `age`"):
        replace(scored((0.3, 0.3), (0.3, 0.3)), scores=Scores(((1.0,),) * 4, 0.3, 1.0))
