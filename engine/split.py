"""The keyed split of subjects into training and hold-out: stable for a subject and key, whoever else is there.

A keyed hash (BLAKE2b, RFC 7693) instead of a draw: a subject does not change sides between builds, and nobody without the
key can tell or choose a side. What the two sides are used for is charged one after the other (DESIGN section 7).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from governance.door import Part

TRAIN_SHARE = 0.7
"""Expected share of subjects that train."""


def holdout_part(subjects: Iterable[str] | pa.Array, key: bytes) -> NDArray[np.int8]:
    """(n_subjects,) `Part.TRAIN` or `Part.HOLDOUT`. `key`: 16 to 64 bytes. Raises ValueError.

    About a second for a million subjects.
    """
    if not 16 <= len(key) <= 64:
        raise ValueError(f"expected a key of 16 to 64 bytes, got {len(key)}")
    keyed = hashlib.blake2b(key=key, digest_size=8)
    digests = bytearray()
    for subject in subjects.to_pylist() if isinstance(subjects, pa.Array) else subjects:
        digest = keyed.copy()
        digest.update(subject.encode())
        digests += digest.digest()
    places = np.frombuffer(bytes(digests), dtype=">u8")
    return np.where(places < int(TRAIN_SHARE * 2.0**64), Part.TRAIN, Part.HOLDOUT).astype(np.int8)
