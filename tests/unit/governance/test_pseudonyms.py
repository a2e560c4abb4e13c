from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import log
from governance.keys import KeyFault, KeyFolder
from governance.pseudonyms import ensure_key, fingerprint, key_faults, pseudonyms, purpose_key
from governance.store import Store
from tests.ledgers import store

pytestmark = pytest.mark.usefixtures("database")

ADS = "marketing.advertising.first_party"


@pytest.fixture
def opened(tmp_path: Path) -> Store:
    return store(tmp_path)


@pytest.fixture
def keys(tmp_path: Path) -> KeyFolder:
    folder = KeyFolder(tmp_path / "keys")
    folder.create("example.com/log")
    return folder


def entries(opened: Store) -> list[dict[str, Any]]:
    with opened.read() as session:
        return [entry.parsed for entry in log.entries(session.connection())]


def ensure(opened: Store, keys: KeyFolder, purpose: str = ADS) -> bytes:
    with opened.transaction() as transaction:
        key = ensure_key(transaction, keys, purpose)
        transaction.record("release.intended")
    return key


def read(opened: Store, keys: KeyFolder, purpose: str = ADS) -> bytes:
    with opened.read() as session:
        return purpose_key(session, keys, purpose)


@given(subjects=st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"]))), key=st.binary(min_size=1, max_size=100))
def test_pseudonyms_are_hmac_sha256(subjects: list[str | None], key: bytes) -> None:
    expected = [None if s is None else hmac.new(key, s.encode(), hashlib.sha256).hexdigest() for s in subjects]
    assert pseudonyms(pa.array(subjects, pa.string()), key).to_pylist() == expected
    assert pseudonyms(pa.chunked_array([pa.array(subjects, pa.large_string())]), key).to_pylist() == expected


def test_numbers_are_hashed_as_their_text() -> None:
    assert pseudonyms(pa.array([7, None]), b"k").equals(pseudonyms(pa.array(["7", None]), b"k"))


def test_purposes_give_pseudonyms_that_do_not_join(keys: KeyFolder) -> None:
    subjects = pa.array([str(i) for i in range(100)])
    first, second = (set(pseudonyms(subjects, keys.create_pseudonym(purpose)).to_pylist()) for purpose in (ADS, "marketing"))
    assert len(first) == len(second) == 100
    assert not first & second


def test_a_key_is_made_once_with_an_entry_that_does_not_show_it(opened: Store, keys: KeyFolder) -> None:
    key = ensure(opened, keys)
    assert ensure(opened, keys) == read(opened, keys) == key
    made = [entry["facts"] for entry in entries(opened) if entry["action"] == "key.created"]
    assert made == [{"purpose": ADS, "fingerprint": fingerprint(key)}]
    told = str(entries(opened))
    nothing, name = hmac.digest(key, b"", "sha256").hex(), hmac.digest(key, b"s1", "sha256").hex()
    assert not any(secret[:16] in told for secret in (key.hex(), hashlib.sha256(key).hexdigest(), nothing, name))


def test_fingerprints_tell_keys_apart(opened: Store, keys: KeyFolder) -> None:
    first, second = ensure(opened, keys), ensure(opened, keys, "marketing")
    assert fingerprint(first) != fingerprint(second) and len(fingerprint(first)) == 16


def test_a_lost_key_is_a_fault_and_not_made_anew(opened: Store, keys: KeyFolder) -> None:
    ensure(opened, keys)
    keys.pseudonym_path(ADS).unlink()
    for ask in (ensure, read):
        with pytest.raises(KeyFault, match="is missing; restore it from a backup"):
            ask(opened, keys)
    assert not keys.pseudonym_path(ADS).exists()
    with opened.read() as session:
        assert [fault.path for fault in key_faults(session, keys)] == [keys.pseudonym_path(ADS)]


def test_another_key_in_its_place_is_a_fault(opened: Store, keys: KeyFolder) -> None:
    ensure(opened, keys)
    keys.pseudonym_path(ADS).unlink()
    keys.create_pseudonym(ADS)
    for ask in (ensure, read):
        with pytest.raises(KeyFault, match="is not the one that the log names; restore"):
            ask(opened, keys)
    with opened.read() as session:
        assert len(key_faults(session, keys)) == 1


def test_a_crash_between_file_and_entry_leaves_a_key_that_serves(opened: Store, keys: KeyFolder) -> None:
    with pytest.raises(ZeroDivisionError), opened.transaction() as transaction:
        key = ensure_key(transaction, keys, ADS)
        raise ZeroDivisionError
    assert entries(opened) == []
    with pytest.raises(KeyFault):
        read(opened, keys)
    assert ensure(opened, keys) == key
    with opened.read() as session:
        assert key_faults(session, keys) == ()
