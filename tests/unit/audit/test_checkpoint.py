import base64
import os
from pathlib import Path

import pytest

from audit import verify
from audit.checkpoint import SLOT, CheckpointFile, Verifier, make_checkpoint, pack_slot, read_checkpoint, unpack_slot
from audit.merkle import IntegrityError
from tests.evidence import ORIGIN, read_slots, signer

ROOTS = [bytes([number]) * 32 for number in range(10)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint"


@pytest.fixture
def file(path: Path) -> CheckpointFile:
    return CheckpointFile(path, signer())


def spoil(path: Path, slot: int, size: int = SLOT) -> None:
    with open(path, "r+b") as raw:
        raw.seek(slot * SLOT)
        raw.write(b"\xff" * size)


def test_a_verifier_key_reads_back() -> None:
    verifier = signer().verifier
    assert Verifier.parse(str(verifier)) == verifier
    assert verify.parse_key(str(verifier)).public == verifier.public


@pytest.mark.parametrize("text", ["", "name", "name+00000000+", "a+b+c", f"{signer().verifier}x", f"other{signer().verifier}"])
def test_damaged_verifier_keys_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="verifier key"):
        Verifier.parse(text)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb"])
def test_names_that_would_break_a_note_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no spaces and no plus"):
        Verifier(name, bytes(32))


def test_a_checkpoint_is_a_signed_note() -> None:
    made = make_checkpoint(signer(), 7, ROOTS[7], ["spent 1/2"])
    text, _, signature = made.note.rpartition("\n\n")
    assert text.split("\n") == [ORIGIN, "7", base64.b64encode(ROOTS[7]).decode(), "spent 1/2"]
    assert signature.startswith(f"— {ORIGIN} ")
    assert read_checkpoint(made.note, signer().verifier) == made
    assert verify.read_head(made.note, verify.parse_key(str(signer().verifier)))[1] == ROOTS[7]


def test_other_signatures_beside_ours_are_passed_over() -> None:
    made = make_checkpoint(signer(), 7, ROOTS[7])
    other = make_checkpoint(signer(2, "witness.example"), 7, ROOTS[7]).note.splitlines()[-1]
    text, _, signature = made.note.rpartition("\n\n")
    assert read_checkpoint(f"{text}\n\n{other}\n{signature}", signer().verifier).size == 7


@pytest.mark.parametrize(
    "text",
    [
        f"{ORIGIN}\n7\n",
        f"{ORIGIN}\n07\n{base64.b64encode(ROOTS[7]).decode()}\n",
        f"{ORIGIN}\n-7\n{base64.b64encode(ROOTS[7]).decode()}\n",
        f"{ORIGIN}\n\u0667\n{base64.b64encode(ROOTS[7]).decode()}\n",
        f"{ORIGIN}\n7\nAAAA\n",
        f"another.example\n7\n{base64.b64encode(ROOTS[7]).decode()}\n",
    ],
)
def test_signed_texts_that_are_no_checkpoint_are_refused(text: str) -> None:
    note = signer().sign(text)
    with pytest.raises(IntegrityError):
        read_checkpoint(note, signer().verifier)
    with pytest.raises(verify.Broken):
        verify.read_head(note, verify.parse_key(str(signer().verifier)))


def test_every_changed_character_of_a_note_is_refused() -> None:
    note = make_checkpoint(signer(), 7, ROOTS[7], ["x"]).note
    key = verify.parse_key(str(signer().verifier))
    for place, character in enumerate(note):
        for other in ("\n", "A" if character != "A" else "B"):
            if other == character:
                continue
            changed = note[:place] + other + note[place + 1 :]
            with pytest.raises(IntegrityError):
                read_checkpoint(changed, signer().verifier)
            with pytest.raises(verify.Broken):
                verify.read_head(changed, key)


@pytest.mark.parametrize("extension", ["", "two\nlines"])
def test_extensions_are_single_lines(extension: str) -> None:
    with pytest.raises(ValueError, match="one line"):
        make_checkpoint(signer(), 1, ROOTS[1], [extension])


def test_an_absent_file_says_nothing(file: CheckpointFile) -> None:
    assert file.read() is None


def test_the_newest_is_read_back(file: CheckpointFile, path: Path) -> None:
    for size in (0, 1, 2, 5):
        file.publish(size, ROOTS[size], ["x"])
        for reader in (file, CheckpointFile(path, None, signer().verifier)):
            newest = reader.read()
            assert newest is not None
            assert (newest.size, newest.root, newest.extensions) == (size, ROOTS[size], ("x",))
    assert path.stat().st_size == 2 * SLOT


def test_slots_are_written_in_turn(file: CheckpointFile, path: Path) -> None:
    for size in (1, 2, 3, 4):
        before = path.read_bytes() if path.exists() else b""
        file.publish(size, ROOTS[size])
        after = path.read_bytes()
        changed = [slot for slot in (0, 1) if before[slot * SLOT :][:SLOT] != after[slot * SLOT :][:SLOT]]
        assert changed == ([0, 1] if size == 1 else [(size + 1) % 2])


def test_it_never_goes_back_in_size(file: CheckpointFile, path: Path) -> None:
    file.publish(5, ROOTS[5])
    before = path.read_bytes()
    file.publish(4, ROOTS[4])
    file.publish(5, ROOTS[5])
    assert path.read_bytes() == before


def test_a_second_root_for_one_size_is_a_fork(file: CheckpointFile, path: Path) -> None:
    file.publish(5, ROOTS[5])
    before = path.read_bytes()
    with pytest.raises(IntegrityError, match="the log was forked"):
        file.publish(5, ROOTS[6])
    assert path.read_bytes() == before


@pytest.mark.parametrize("size", [1, 40, SLOT - 1, SLOT])
def test_a_torn_slot_leaves_the_other(file: CheckpointFile, path: Path, size: int) -> None:
    for number in (1, 2, 3, 4):
        file.publish(number, ROOTS[number])
    spoil(path, 1, size)  # of size 4
    newest = CheckpointFile(path, signer()).read()
    assert newest is not None and newest.size == 3
    CheckpointFile(path, signer()).publish(5, ROOTS[5])
    heads, findings = read_slots(path, verify.parse_key(str(signer().verifier)))
    assert sorted(head.size for head in heads) == [3, 5] and not findings


def test_publishing_the_same_again_mends_a_torn_slot(file: CheckpointFile, path: Path) -> None:
    for number in (1, 2):
        file.publish(number, ROOTS[number])
    spoil(path, 0)
    file.publish(2, ROOTS[2])
    heads, findings = read_slots(path, verify.parse_key(str(signer().verifier)))
    assert [head.size for head in heads] == [2, 2] and not findings


def test_a_file_that_lost_both_slots_is_refused(file: CheckpointFile, path: Path) -> None:
    file.publish(1, ROOTS[1])
    for raw in (b"\0" * 2 * SLOT, b"x"):
        path.write_bytes(raw)
        with pytest.raises(IntegrityError, match="damaged in both slots"):
            file.read()
        with pytest.raises(IntegrityError, match="damaged in both slots"):
            file.publish(2, ROOTS[2])


def test_a_longer_file_is_refused(file: CheckpointFile, path: Path) -> None:
    file.publish(1, ROOTS[1])
    with open(path, "ab") as raw:
        raw.write(b"x")
    with pytest.raises(IntegrityError, match="it has more"):
        file.read()


def test_somebody_else_cannot_write_a_slot(file: CheckpointFile, path: Path) -> None:
    """A right sum with a wrong signature is no torn write, even beside a slot that is right."""
    for number in (1, 2):
        file.publish(number, ROOTS[number])
    for note in (make_checkpoint(signer(2), 9, ROOTS[9]).note, "rubbish"):
        path.write_bytes(path.read_bytes()[:SLOT] + pack_slot(note))
        for act in (file.read, lambda: file.publish(3, ROOTS[3])):
            with pytest.raises(IntegrityError):
                act()


def test_a_slot_of_another_log_with_our_key_is_refused(file: CheckpointFile, path: Path) -> None:
    path.write_bytes(pack_slot(make_checkpoint(signer(1, "another.example"), 1, ROOTS[1]).note) * 2)
    with pytest.raises(IntegrityError):
        file.read()


def test_the_private_key_must_be_the_public_ones(path: Path) -> None:
    with pytest.raises(IntegrityError, match="private key is not that of"):
        CheckpointFile(path, signer(), signer(2).verifier)
    with pytest.raises(ValueError, match="needs a signer or a verifier key"):
        CheckpointFile(path, None)


def test_reading_only(path: Path) -> None:
    with pytest.raises(ValueError, match="reading only"):
        CheckpointFile(path, None, signer().verifier).publish(1, ROOTS[1])
    assert not path.exists()


def test_a_note_too_long_for_a_slot_is_refused_before_it_is_written(file: CheckpointFile, path: Path) -> None:
    file.publish(1, ROOTS[1])
    with pytest.raises(ValueError, match="must fit"):
        file.publish(2, ROOTS[2], ["x" * SLOT])
    newest = file.read()
    assert newest is not None and newest.size == 1


def test_slots_unpack_to_what_was_packed() -> None:
    assert unpack_slot(pack_slot("note\n")) == "note\n"
    assert unpack_slot(pack_slot("note\n")[:-1]) is None


def test_no_file_is_left_open(file: CheckpointFile) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(9):
        file.publish(number, ROOTS[number])
        file.read()
    assert len(os.listdir("/proc/self/fd")) == before
