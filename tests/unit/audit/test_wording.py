from __future__ import annotations

import datetime as dt

import pytest

from audit import wording


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.001, "−0.001"),
        (0.8271, "0.83"),
        (12.04, "12"),
        (-1234567.8, "−1,234,568"),
        (float("inf"), "unbounded"),
        (2.5, "2.50"),
    ],
)
def test_number(value: float, text: str) -> None:
    assert wording.number(value) == text


def test_place_follows_the_bins_not_the_values() -> None:
    assert wording.place(10.0, (0.0, 10.0, 100.0)) == 0.5
    assert wording.place(55.0, (0.0, 10.0, 100.0)) == 0.75
    assert wording.place(1e9, (0.0, 10.0, 100.0)) == 1.0
    assert wording.place(5.0, ()) is None


def test_place_survives_a_bin_without_width() -> None:
    assert wording.place(1.0, (1.0, 1.0)) == 0.0


def test_a_time_is_shown_in_utc() -> None:
    berlin = dt.timezone(dt.timedelta(hours=1))
    assert wording.moment(dt.datetime(2026, 1, 1, 0, 30, tzinfo=berlin)) == "31 December 2025, 23:30 UTC"


def test_counts_never_fall_below_zero_and_margins_round_up() -> None:
    assert wording.count(-4.2, 8.5) == "0 ± 17"
    assert wording.count(8711.6, 12.7) == "8,712 ± 25"


def test_a_sentence_keeps_its_other_capitals() -> None:
    assert wording.sentence("the GDPR asks") == "The GDPR asks"
    assert wording.sentence("") == ""


def test_small_numbers_have_no_exponent() -> None:
    assert wording.small(1e-5) == "0.00001"


@pytest.mark.parametrize(
    ("text", "markup"),
    [
        ("rule `no-contact` of `house`", "rule <code>no-contact</code> of <code>house</code>"),
        ("`<b>` & <i>", "<code>&lt;b&gt;</code> &amp; &lt;i&gt;"),
        ("one ` alone <b>", "one ` alone &lt;b&gt;"),
        ("", ""),
    ],
)
def test_backticks_become_code_and_everything_is_escaped(text: str, markup: str) -> None:
    assert wording.quoted(text) == markup
