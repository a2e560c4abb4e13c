from __future__ import annotations

import math

import pytest

from audit.proxies import Guesses, ProxyFinding, Told, judge

GROUPS = ("young", "old")


def found(
    rows: tuple[tuple[float, ...], ...],
    sigma: float = 0.0,
    optimism: tuple[float, float] = (0.0, 0.0),
    selected: tuple[float, float] = (0.5, 0.5),
) -> ProxyFinding:
    """Of guesses (own group, named group); each group has 1,000 subjects of whom a share is `selected`."""
    guesses = Guesses(rows, sigma, ("spend", "visits"), ((0.0, -0.4), (0.0, 0.6)), ((0.1, 0.05), (0.1, math.inf)), optimism)
    counts = tuple((1000 * share, 1000 * (1 - share)) for share in selected)
    return judge(GROUPS, guesses, ("selected",), counts, sigma)


def test_a_group_is_told_by_as_much_as_it_is_named_more_often_for_its_members() -> None:
    finding = found(((900.0, 100.0), (300.0, 700.0)))
    assert finding.verdict is Told.TOLD and "stand for young, old" in finding.reason
    young = finding.groups[0]
    assert (young.right.value, young.wrong.value) == (0.9, 0.3)
    assert young.told is not None and young.told.value == pytest.approx(0.6) and 0.5 < young.told.low < young.told.high < 0.7


def test_a_rule_that_always_names_the_same_group_tells_nothing() -> None:
    finding = found(((3000.0, 0.0), (3000.0, 0.0)))
    assert {group.verdict for group in finding.groups} == {Told.HARDLY}
    assert finding.verdict is Told.HARDLY and "next to nothing" in finding.groups[0].reason


def test_noise_and_few_subjects_leave_it_open_and_say_what_would_not_show() -> None:
    noisy = found(((520.0, 480.0), (500.0, 500.0)), sigma=40.0).groups[0]
    assert noisy.verdict is Told.UNKNOWN and noisy.detectable is not None
    assert f"less than {100 * noisy.detectable:.0f} points would not show" in noisy.reason
    few = found(((12.0, 8.0), (500.0, 500.0)))
    assert few.groups[0].told is None and "no gap, however large" in few.groups[0].reason
    assert few.groups[1].told is None and few.groups[1].reason == "there are too few others to compare with"
    assert few.verdict is Told.UNKNOWN


def test_what_a_rule_may_owe_to_its_own_subjects_is_allowed_for() -> None:
    rows = ((560.0, 440.0), (480.0, 520.0))
    both = found(rows, optimism=(0.01, 0.05))
    assert found(rows).verdict is Told.TOLD and both.verdict is Told.UNKNOWN
    for plain, flattered in zip(found(rows).groups, both.groups, strict=True):  # the larger for either: of two, both are named alike
        assert plain.told is not None and flattered.told is not None and plain.detectable is not None and flattered.detectable is not None
        assert flattered.told.low == pytest.approx(plain.told.low - 0.05) and flattered.told.high == plain.told.high
        assert flattered.detectable == pytest.approx(plain.detectable + 0.05)


def test_the_segment_tells_a_group_by_who_is_selected() -> None:
    group = found(((500.0, 500.0), (500.0, 500.0)), selected=(0.7, 0.4)).groups[1]
    assert group.part == "selected" and group.segment is not None and group.segment.value == pytest.approx(-0.3)


def test_features_that_differ_for_certain_are_named_the_most_different_first() -> None:
    [standing] = found(((500.0, 500.0), (500.0, 500.0))).standing
    assert (standing.feature, standing.group) == ("visits", "young")  # of the old nothing is certain
    assert standing.difference.low < -0.4 < standing.difference.high < 0
