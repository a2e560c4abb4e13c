"""Keys and patterns."""

from __future__ import annotations

import subprocess
import sys

import pytest

from policies.taxonomy import Vocabulary, ancestors, covers, keys, known, known_pattern, nearest, reaches


def test_fideslang_is_at_hand() -> None:
    assert len(keys(Vocabulary.CATEGORY)) == 85 and len(keys(Vocabulary.USE)) == 56
    assert known(Vocabulary.USE, "marketing.advertising") and not known(Vocabulary.CATEGORY, "marketing.advertising")


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


def test_reading_module_does_not_load_fideslang() -> None:
    code = "import sys, policies.reading, policies.deciding; sys.exit('fideslang' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
