"""What is kept outside: the newest promise wins, by epoch and then by the log's size, and it is written before anything is drawn."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.checkpoint import Signer
from audit.merkle import IntegrityError
from governance import outside as outside_module
from governance.budget import LedgerMeter, accounts, release, reserve, settle
from governance.door import Query, StepName
from governance.outside import BehindError, Outside, check_key, pin
from governance.principals import Principal
from governance.store import Store
from governance.suppression import NEWEST, Suppression, SuppressionError
from tests.ledgers import ADS, CARE, Clock, MemorySeal, contract, policy

SIGNER = Signer(Ed25519PrivateKey.generate(), "test")
ACCOUNT = "Shop Ltd/loyalty"


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Outside, Store]:
    Suppression(tmp_path / "outside", "test").create()
    outside = Outside(tmp_path / "outside", SIGNER)
    store = Store(f"sqlite:///{tmp_path / 'meta.db'}", MemorySeal(), Principal("ana"), Clock(), outside)
    store.create()
    with store.read() as session:
        outside.begin_epoch(session, ())
    return outside, store


def spend(store: Store, purpose: str = ADS):  # type: ignore[no-untyped-def]
    with store.transaction() as write:
        rules = policy()
        return reserve(write, accounts(contract(), rules, purpose, write.now), rules, 0.2, 1e-5, "build")


def spent(outside: Outside) -> dict[str, Fraction]:
    return {name: each.mu_squared for name, each in outside.newest().accounts[ACCOUNT].allocations.items()}


def test_each_change_of_a_budget_is_there_when_it_returns_and_other_entries_are_not(kept: tuple[Outside, Store], tmp_path: Path) -> None:
    outside, store = kept
    lines = tmp_path / "outside" / NEWEST
    first = spend(store)
    assert list(spent(outside).values()) == [first.mu_squared]
    second = spend(store, CARE)
    assert sorted(spent(outside).values()) == [first.mu_squared, second.mu_squared]
    size = lines.stat().st_size
    with store.transaction() as write:
        write.record("looked")
    assert lines.stat().st_size == size
    meter = LedgerMeter(store, first.id)
    parts = first.grant().split(a=1, b=1)
    meter.charge(parts["a"], Query(StepName("any"), {}, (1, 1, 1), 1.0))
    drawn = lines.stat().st_size
    meter.charge(parts["b"], Query(StepName("any"), {}, (1, 1, 1), 1.0))
    assert drawn > size and lines.stat().st_size == drawn  # the first draw of a reservation alone
    with store.transaction() as write:
        settle(write, first.id)
        release(write, second.id)
    assert list(spent(outside).values()) == [first.mu_squared]
    newest = outside.newest()
    assert newest.checkpoint is not None and newest.accounts[ACCOUNT].limit is not None
    with store.read() as session:
        outside.hold(session)


def test_a_long_record_is_made_short_and_says_the_same(
    kept: tuple[Outside, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside, store = kept
    spend(store)
    with store.transaction() as write:
        write.record("erased")
        write.keep_outside()
    before, path = outside.newest(), tmp_path / "outside" / NEWEST
    size = path.stat().st_size
    monkeypatch.setattr(outside_module, "MOST_BYTES", 1)
    with store.read() as session:
        outside.keep(session)
    after = outside.newest()
    assert after.accounts == before.accounts and after.checkpoint == before.checkpoint and path.stat().st_size <= size
    assert len(path.read_text().splitlines()) == 2


def test_an_epoch_counts_before_size(kept: tuple[Outside, Store], tmp_path: Path) -> None:
    outside, store = kept
    for _ in range(5):
        spend(store)
    old = outside.newest()
    other = Store(f"sqlite:///{tmp_path / 'other.db'}", MemorySeal(), Principal("ana"), Clock(), outside)
    other.create()
    with pytest.raises(BehindError):  # a database that is behind promises nothing
        spend(other)
    with outside.catching_up():
        spend(other)
    assert outside.newest() == old
    with other.read() as session:
        outside.begin_epoch(session, [ACCOUNT])
    newest = outside.newest()
    assert newest.checkpoint is not None and old.checkpoint is not None and newest.checkpoint.size < old.checkpoint.size
    with other.read() as session:
        outside.hold(session)


def test_an_empty_record_is_no_promise_that_nothing_was(kept: tuple[Outside, Store], tmp_path: Path) -> None:
    (tmp_path / "outside" / NEWEST).write_bytes(b"")
    with kept[1].read() as session, pytest.raises(BehindError, match="nothing is written down"):
        kept[0].hold(session)
    with pytest.raises(BehindError):
        spend(kept[1])


def test_another_key_than_the_one_that_was_written_down_is_refused(kept: tuple[Outside, Store], tmp_path: Path) -> None:
    own, other = Suppression(tmp_path / "outside", "test"), Suppression(tmp_path / "other", "test")
    other.create()
    with kept[1].transaction() as write:
        write.record("pinned", outside=pin(write, own))
    with kept[1].read() as session:
        check_key(session, own)
        with pytest.raises(SuppressionError, match="has another key"):
            check_key(session, other)


def test_what_another_key_signed_is_refused(kept: tuple[Outside, Store], tmp_path: Path) -> None:
    spend(kept[1])
    with pytest.raises(IntegrityError, match="not signed by"):
        Outside(tmp_path / "outside", Signer(Ed25519PrivateKey.generate(), "test")).newest()


def test_without_the_file_nothing_is_promised(kept: tuple[Outside, Store], tmp_path: Path) -> None:
    (tmp_path / "outside" / NEWEST).unlink()
    with pytest.raises(SuppressionError, match="is missing"):
        kept[0].newest()
    with pytest.raises(SuppressionError):
        spend(kept[1])


def test_lines_hold_no_names_but_of_accounts(kept: tuple[Outside, Store], tmp_path: Path) -> None:
    spend(kept[1])
    *_, line = (tmp_path / "outside" / NEWEST).read_text().splitlines()
    assert json.loads(line.rpartition(" ")[0]).keys() == {"epoch", "size", "note", "cap", "limit", "allocations"}


def test_keys_that_sign_beside_each_other_lead_to_each_other_only_if_each_signed(tmp_path: Path) -> None:
    """A backup from before a rotation has the first key alone."""
    first, second, stranger = (Signer(Ed25519PrivateKey.generate(), "test") for _ in range(3))
    (note,) = outside_module._beside(Signer(first.key, "test", (second,)))
    assert [note] == outside_module._beside(Signer(second.key, "test", (first,))) and outside_module._beside(first) == []
    both = sorted((first.verifier, second.verifier), key=str)
    assert outside_module._reached(note, [first.verifier]) == outside_module._reached(note, [second.verifier]) == both
    assert outside_module._reached(note, [stranger.verifier]) == []
    text = note.partition("\n\n")[0] + "\n"
    for forged in (f"{text}\n{second.line(text)}", note.replace("keys-beside", "keys-besides")):
        with pytest.raises(IntegrityError):
            outside_module._reached(forged, [first.verifier])
