"""Keys and patterns."""

from __future__ import annotations

import subprocess
import sys

import pytest

from policies.taxonomy import Vocabulary, ancestors, asked, covers, keys, known, known_pattern, nearest, reaches, written


def test_fideslang_is_at_hand() -> None:
    assert len(keys(Vocabulary.CATEGORY)) == 85 and len(keys(Vocabulary.USE)) == 56
    assert known(Vocabulary.USE, "marketing.advertising") and not known(Vocabulary.CATEGORY, "marketing.advertising")


@pytest.mark.parametrize("vocabulary", Vocabulary)
def test_the_keys_that_are_read_off_the_source_are_those_of_the_library(vocabulary: Vocabulary) -> None:
    assert written(vocabulary) == asked(vocabulary)


def test_a_library_of_another_build_is_asked_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policies.taxonomy._SOURCES", {Vocabulary.USE: "elsewhere.py"})
    assert keys.__wrapped__(Vocabulary.USE) == asked(Vocabulary.USE)


@pytest.mark.parametrize("vocabulary", Vocabulary)
def test_ancestors_of_every_key_exist(vocabulary: Vocabulary) -> None:
    assert all(above in keys(vocabulary) for key in keys(vocabulary) for above in ancestors(key))


def test_ancestors_come_nearest_first() -> None:
    assert ancestors("user.contact.email") == ("user.contact", "user")
    assert ancestors("user") == ()


@pytest.mark.parametrize(
    ("pattern", "key", "covered", "reached"),
    [
        ("*", "user.name", True, True),
        ("user.contact", "user.contact", True, True),
        ("user.contact", "user.contact.email", False, True),
        ("user.contact.*", "user.contact", True, True),
        ("user.contact.*", "user.contact.email", True, True),
        ("user.contact.*", "user.contacts", False, False),
        ("user.contact.email", "user.contact", False, False),
        ("user.contact.*", "user", False, False),
    ],
)
def test_patterns(pattern: str, key: str, covered: bool, reached: bool) -> None:
    assert covers(pattern, key) is covered
    assert reaches(pattern, key) is reached


def test_known_patterns() -> None:
    assert known_pattern(Vocabulary.CATEGORY, "*") and known_pattern(Vocabulary.CATEGORY, "user.behavior.*")
    assert not known_pattern(Vocabulary.CATEGORY, "user.behaviour.*") and not known_pattern(Vocabulary.CATEGORY, "user.*.email")


def test_nearest() -> None:
    assert nearest("user.behaviour", keys(Vocabulary.CATEGORY)) == "user.behavior"
    assert nearest("email", keys(Vocabulary.CATEGORY)) == "user.contact.email"
    assert nearest("zzz", ["amount"]) is None


def test_looking_up_a_key_does_not_load_fideslang() -> None:
    code = (
        "import sys, policies.reading, policies.deciding\nfrom policies.taxonomy import *\nassert known(Vocabulary.USE, 'marketing')\n"
        "sys.exit('fideslang' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
