"""Words for durations, reasons and coverage."""

from __future__ import annotations

import datetime as dt
from typing import get_args

import pytest

from engine.trainers.clusters import MethodName
from engine.wording import BELONGS, WELL_COVERED, coverage_words, duration_words, reason_words
from governance.admission import Reason
from policies.segment import Clusters


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (dt.timedelta(days=90), "90 days"),
        (dt.timedelta(days=1), "1 day"),
        (dt.timedelta(hours=12), "12 hours"),
        (dt.timedelta(days=3650), "3,650 days"),
    ],
)
def test_windows_are_said_in_days_where_they_are_whole(length: dt.timedelta, words: str) -> None:
    assert duration_words(length) == words


def test_every_reason_has_words_of_its_own() -> None:
    assert len({reason_words(reason) for reason in Reason}) == len(Reason)
    assert all("_" not in reason_words(reason) for reason in Reason)


def test_low_coverage_says_what_keeps_a_group_from_being_known() -> None:
    """Else a table of zeros looks as if there were too few people."""
    assert "97.3%" in coverage_words(0.973) and "proof of notice" not in coverage_words(0.973)
    assert "0.2%" in coverage_words(0.002) and "proof of notice" in coverage_words(0.002)
    assert "proof of notice" in coverage_words(WELL_COVERED - 0.01)
    assert "100%" in coverage_words(1.2)


def test_every_way_to_make_clusters_says_who_is_in_which() -> None:
    assert set(BELONGS) == set(get_args(Clusters.model_fields["method"].annotation)) == set(get_args(MethodName))
