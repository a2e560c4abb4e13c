"""Places: whose law holds where nobody wrote one."""

from __future__ import annotations

import pytest

from policies.jurisdictions import EEA, known, lineage, region, said_in, within


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("us-ca", ("us-ca", "us", "default")),
        (" US-CA ", ("us-ca", "us", "default")),
        ("de", ("de", "eu", "default")),
        ("de-by", ("de-by", "de", "eu", "default")),
        ("eu-de", ("de", "eu", "default")),
        ("gb", ("uk", "default")),
        ("br", ("br", "default")),
        ("default", ("default",)),
        ("", ("", "default")),
    ],
)
def test_a_place_is_part_of_others(place: str, expected: tuple[str, ...]) -> None:
    assert lineage(place) == expected


def test_the_nearest_word_counts() -> None:
    said = {"us": "opt_out", "US-CA": "consent", "default": "contract"}
    assert [said_in(said, place) for place in ("us-ca", "us-va", "fr", "us")] == ["consent", "opt_out", "contract", "opt_out"]
    assert said_in({"eu": "consent"}, "us") is None
    assert said_in({"eu": "consent"}, "ie") == "consent"


@pytest.mark.parametrize(
    "place", ["de", " DE ", "eu", "EEA", "uk", "gb", "gb-sct", "us", "US-CA", "us-dc", "eu-de", "de-by", "br", "el", "re"]
)
def test_places_are_known(place: str) -> None:
    assert known(place)


@pytest.mark.parametrize(
    "place", ["Germany", "europe", "DEU", "eu_de", "us_ca", "E U", "us-xx", "us-cali", "eu-us", "de-", "de-by-x", "", "default"]
)
def test_what_is_no_place_has_no_law(place: str) -> None:
    """It must not fall to the law of the rest of the world; `default` is a place of documents, where nobody lives."""
    assert not known(place)
    if place != "default":
        assert said_in({"eu": "consent", "default": "opt_out"}, place) is None


def test_union_law_holds_in_parts_of_members_with_codes_of_their_own() -> None:
    assert len(EEA) == 30 + 7
    assert all(said_in({"eu": "consent", "default": "opt_out"}, place) == "consent" for place in ("ax", "gf", "gp", "mf", "mq", "re", "yt"))


def test_regions() -> None:
    assert [region(place) for place in ("us-ca", "de", "eu-fr", "gb", "default")] == ["us", "eu", "eu", "uk", "default"]


def test_within_is_not_everywhere() -> None:
    assert within("us-ca", ["us"]) and within("de", ["EU"]) and within("gb", ["uk"])
    assert not within("us", ["us-ca"]) and not within("br", ["default"]) and not within("eu", [])
