from __future__ import annotations

import pytest

from audit.balance import balances


def test_a_picture_of_everybody_is_balanced_and_a_part_without_a_group_is_not() -> None:
    even, lacking, whole = balances(("even", "lacking"), ((500.0, 1000.0), (500.0, 0.0)), 0.0)
    assert even.value == pytest.approx(0.5)  # a quarter of everybody makes up half of it
    assert lacking.value == 0.0 and whole.outcome == "" and whole.value == pytest.approx(1.0)
    assert [share.value for share in whole.shares] == [0.75, 0.25]
    assert even.shares[0].low < 0.5 < even.shares[0].high


def test_balance_of_too_few_is_unknown() -> None:
    few, many, _ = balances(("few", "many"), ((14.0, 900.0), (14.0, 900.0)), 0.0)
    assert few.value is None and many.value == pytest.approx(1.0)
    noisy, *_ = balances(("few",), ((100.0,), (100.0,)), 50.0)
    assert noisy.value is None
