"""A transcript holds for whoever has the partner's key, and whatever is done to it afterwards is found."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.checkpoint import Signer
from audit.merkle import IntegrityError
from federated.transcript import Entry, Left, TranscriptFile, epsilon, verify, written
from policies.documents import Digest, digest_of
from tests.collaborations import signers

ME, SOMEBODY = signers(2)
CONTRACT, ANOTHER = Digest("sha256:contract"), Digest("sha256:another")
DELTA = 1e-5
AT = "2026-11-22T10:00:00.000000Z"


def left(number: int) -> Left:
    """Keys and vectors in turn; each vector costs 1/8, and the last reply is a refusal."""
    vector = number % 2 == 1
    request, payload = digest_of(b"asked %d" % number), digest_of(b"said %d" % number)
    charged = Fraction(1, 8) if vector else None
    code = "refused" if number == 6 else None
    step = "vector" if vector else "keys"
    return Left(number // 2 + 1, step, request, payload, 100 + number, code, f"all/{number}", charged, Fraction((number + 1) // 2, 8))


def kept(folder: Path, name: str = "transcript", contract: Digest = CONTRACT, signer: Signer = ME, count: int = 7) -> Path:
    file = TranscriptFile(folder / name, signer, contract, DELTA)
    for number in range(count):
        file.append(left(number), AT)
    file.end(AT)
    file.close()
    return folder / name


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_it_holds_and_says_what_left(tmp_path: Path) -> None:
    raw = kept(tmp_path).read_bytes()
    found = verify(raw, ME.verifier)
    assert found.findings == () and found.ended
    assert [entry.left for entry in found.entries[:-1]] == [left(number) for number in range(7)]
    assert found.entries[-1].epsilon == epsilon(Fraction(3, 8), DELTA) > found.entries[1].epsilon > 0
    assert found.head == digest_of(raw.splitlines()[-1])


def test_every_change_of_a_byte_is_found(tmp_path: Path) -> None:
    raw = kept(tmp_path, count=1).read_bytes()
    for place in range(0, len(raw), 2):
        assert verify(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :], ME.verifier).findings, place
        assert verify(raw[:place] + raw[place + 1 :], ME.verifier).findings, place


def test_every_line_that_is_taken_out_repeated_or_moved_is_found(tmp_path: Path) -> None:
    whole = lines(kept(tmp_path))
    for at in range(len(whole)):
        assert verify(b"".join(whole[:at] + whole[at + 1 :]), ME.verifier).findings, at
        assert verify(b"".join([*whole[: at + 1], *whole[at:]]), ME.verifier).findings, at
        for other in range(at):
            moved = list(whole)
            moved[at], moved[other] = moved[other], moved[at]
            assert verify(b"".join(moved), ME.verifier).findings, (at, other)


def test_a_cut_is_found_wherever_it_is(tmp_path: Path) -> None:
    raw = kept(tmp_path, count=3).read_bytes()
    ends = {at for at, byte in enumerate(raw) if byte == 10}
    for end in sorted({*range(0, len(raw), 11), *ends, *(at + 1 for at in ends)} - {len(raw)}):
        assert verify(raw[:end], ME.verifier).findings, end


def test_one_that_has_not_ended_holds_up_to_a_head_that_somebody_has(tmp_path: Path) -> None:
    whole = lines(kept(tmp_path))
    open_, head = b"".join(whole[:-1]), digest_of(whole[3].rstrip(b"\n"))
    assert "has not ended" not in str(verify(open_, ME.verifier, head).findings)
    assert verify(open_, ME.verifier, head).findings == () and not verify(open_, ME.verifier, head).ended
    assert verify(b"".join(whole[:3]), ME.verifier, head).findings  # cut before what somebody saw


@pytest.mark.parametrize(("contract", "signer"), [(ANOTHER, ME), (CONTRACT, SOMEBODY)])
def test_a_line_of_another_transcript_is_found(tmp_path: Path, contract: Digest, signer: Signer) -> None:
    mine, theirs = lines(kept(tmp_path)), lines(kept(tmp_path, "theirs", contract, signer))
    for at in range(len(mine)):
        assert verify(b"".join([*mine[:at], theirs[at], *mine[at + 1 :]]), ME.verifier).findings, at
    assert verify(b"".join(theirs), ME.verifier).findings == () if signer is ME else verify(b"".join(theirs), ME.verifier).findings


def test_the_partner_itself_cannot_say_less_than_it_charged(tmp_path: Path) -> None:
    """What it signs has to add up, whatever it would like to say."""
    entries = verify(kept(tmp_path).read_bytes(), ME.verifier).entries
    third = entries[3].left
    for said in (replace(third, spent=Fraction(0)), replace(third, charged=Fraction(9))):
        changed = [replace(entry, left=said) if entry.number == 3 else entry for entry in entries]
        assert any("charged less" in each or "says ε" in each for each in verify(chained(changed), ME.verifier).findings)
    assert verify(chained([replace(entry, epsilon=entry.epsilon / 2) for entry in entries]), ME.verifier).findings
    assert verify(chained(list(entries)), ME.verifier).findings == ()
    below = replace(entries[0], left=replace(entries[0].left, spent=Fraction(-1), charged=None))
    assert verify(chained([below]), ME.verifier).findings[0] == "line 1: is no entry of a transcript"


@pytest.mark.parametrize(
    ("name", "value"), [("before", 5), ("delta", "1e-5"), ("delta", []), ("epsilon", None), ("number", "0"), ("contract", {}), ("at", 1)]
)
def test_a_value_of_another_kind_is_a_finding_and_no_fault(tmp_path: Path, name: str, value: object) -> None:
    """The partner signed it: whoever verifies gets a finding, and nobody's program ends by it."""
    first = verify(kept(tmp_path).read_bytes(), ME.verifier).entries[0]
    raw = written(replace(first, **{name: value}), ME) + b"\n"  # type: ignore[arg-type]  # on purpose
    assert verify(raw, ME.verifier).findings[0] == "line 1: is no entry of a transcript"
    sized = written(replace(first, left=replace(first.left, size="9")), ME) + b"\n"  # type: ignore[arg-type]
    assert verify(sized, ME.verifier).findings[0] == "line 1: is no entry of a transcript"


def test_charges_without_a_common_denominator_keep_nobody_busy(tmp_path: Path) -> None:
    first = verify(kept(tmp_path).read_bytes(), ME.verifier).entries[0]
    charges = [replace(first.left, charged=Fraction(1, 10**199 + 2 * place + 1), spent=Fraction(1)) for place in range(3)]
    worth = epsilon(Fraction(1), DELTA)
    raw = chained([replace(first, number=place, epsilon=worth, left=left) for place, left in enumerate(charges)])
    assert "line 2: charges add up to no fraction of 200 digits" in verify(raw, ME.verifier).findings


def chained(entries: list[Entry]) -> bytes:
    """Signed anew, each after the line before it."""
    before, raw = Digest(""), b""
    for entry in entries:
        line = written(replace(entry, before=before), ME)
        before, raw = digest_of(line), raw + line + b"\n"
    return raw


def test_what_a_crash_left_of_a_line_is_cut_away_and_the_next_goes_on(tmp_path: Path) -> None:
    path = kept(tmp_path, count=3)
    whole = lines(path)
    path.write_bytes(b"".join(whole[:2]) + whole[2][:-7])
    file = TranscriptFile(path, ME, CONTRACT, DELTA)
    assert len(file.entries) == 2 and not file.ended
    file.append(left(2), AT)
    file.end(AT)
    assert path.read_bytes() == b"".join(whole) and file.end(AT) == file.head
    file.close()


def test_a_line_that_a_full_disk_took_a_part_of_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, write = TranscriptFile(tmp_path / "transcript", ME, CONTRACT, DELTA), os.write
    file.append(left(0), AT)
    with monkeypatch.context() as later:
        later.setattr(os, "write", lambda handle, line: write(handle, line[:-7]))
        with pytest.raises(OSError, match="No space left"):
            file.append(left(1), AT)
    assert len(file.entries) == 1
    file.append(left(1), AT)
    file.end(AT)
    file.close()
    assert not verify((tmp_path / "transcript").read_bytes(), ME.verifier).findings


def test_nothing_is_written_after_what_does_not_verify(tmp_path: Path) -> None:
    path = kept(tmp_path, count=3)
    said = json.loads(lines(path)[1])
    said["entry"]["size"] += 1
    path.write_bytes(lines(path)[0] + json.dumps(said).encode() + b"\n")
    with pytest.raises(IntegrityError, match="line 2"):
        TranscriptFile(path, ME, CONTRACT, DELTA)
    with pytest.raises(IntegrityError, match="another contract"):
        TranscriptFile(kept(tmp_path, "other"), ME, ANOTHER, DELTA)
    with pytest.raises(IntegrityError, match="not signed"):
        TranscriptFile(kept(tmp_path, "third"), Signer(Ed25519PrivateKey.generate(), "p0"), CONTRACT, DELTA)


def test_garbage_is_told_in_fixed_words() -> None:
    for raw in (b"", b"\n", b"{}\n", b"[]\n", b"\xff\n", b'{"entry":{},"signature":""}\n', b"[" * 100_000 + b"\n"):
        assert verify(raw, ME.verifier).findings
