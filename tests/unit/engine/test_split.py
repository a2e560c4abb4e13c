"""`engine.split`: stable for a subject and key, seven in ten, and nothing without the key."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pytest

from engine.split import holdout_part
from governance.door import Part

SUBJECTS = [f"subject-{i}" for i in range(20_000)]


def test_share_is_as_promised() -> None:
    assert np.mean(holdout_part(SUBJECTS, b"k" * 32) == Part.TRAIN) == pytest.approx(0.7, abs=4 * np.sqrt(0.21 / 20_000))


def test_a_subject_keeps_its_side_whoever_else_is_there() -> None:
    together = holdout_part(SUBJECTS, b"k" * 32)
    assert np.array_equal(holdout_part(SUBJECTS[500:100:-3], b"k" * 32), together[500:100:-3])
    assert np.array_equal(holdout_part(pa.array(SUBJECTS), b"k" * 32), together)


def test_the_side_is_the_keyed_hash() -> None:
    place = int.from_bytes(hashlib.blake2b("zoë".encode(), key=b"k" * 16, digest_size=8).digest(), "big") / 2**64
    assert holdout_part(["zoë"], b"k" * 16).tolist() == [Part.TRAIN if place < 0.7 else Part.HOLDOUT]


def test_another_key_is_another_split() -> None:
    same = np.mean(holdout_part(SUBJECTS, b"k" * 32) == holdout_part(SUBJECTS, b"j" * 32))
    assert same == pytest.approx(0.7**2 + 0.3**2, abs=0.02)


def test_nobody_is_an_empty_split() -> None:
    assert holdout_part([], b"k" * 32).shape == (0,)


@pytest.mark.parametrize("key", [b"", b"short", b"k" * 65])
def test_weak_keys_are_refused(key: bytes) -> None:
    with pytest.raises(ValueError, match="expected a key of 16 to 64 bytes"):
        holdout_part(SUBJECTS, key)
