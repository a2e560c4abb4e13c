"""A joint passport beside the transcripts of partners who signed for its model."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from audit import joint_passport
from audit.joint_passport import JointPassport
from audit.merkle import IntegrityError
from engine.collaborations.checking import check
from federated.acknowledgement import Acknowledgement
from federated.transcript import Left, TranscriptFile, epsilon
from policies.documents import Digest, digest_of
from tests.collaborations import signers
from tests.evidence import Evidence
from tests.unit.audit.test_joint_verify import AGREED, PASSPORT, sealed, statement

AT = "2026-11-22T10:00:00.000000Z"
DELTA = 1e-5


def left(folder: Path, spent: Fraction, delta: float = DELTA, rounds: int = 2) -> tuple[Path, Digest]:
    """What left the first partner, and the head before it took the model; empty where nothing had left."""
    file = TranscriptFile(folder / "p0.jsonl", signers(1)[0], AGREED.digest, delta)
    for number in range(1, rounds + 1):
        paid = Left(
            number, "vector", digest_of(b"%d" % number), digest_of(b"sum"), 9, None, "joint/train", spent / rounds, spent / rounds * number
        )
        file.append(paid, AT)
    head = file.head
    file.append(Left(0, "finish", digest_of(b"model"), digest_of(b"thanks"), 9, None, "", None, spent), AT)
    file.end(AT)
    file.close()
    return folder / "p0.jsonl", head


def passport(evidence: Evidence, folder: Path, head: str, spent: Fraction = Fraction(1, 50)) -> tuple[Path, str]:
    """That of a release for which the first partner signed with this head and charge; and the log's key."""
    share = replace(PASSPORT.partners[0], head=head.removeprefix("sha256:"), mu_squared=str(spent), epsilon=epsilon(spent, DELTA))
    made: JointPassport = replace(PASSPORT, partners=(share, *PASSPORT.partners[1:]))
    of = Digest(f"sha256:{made.contract}"), Digest(f"sha256:{made.outcome}")
    heads = [Digest(f"sha256:{each.head}" if each.head else "") for each in made.partners]
    signed = [
        Acknowledgement(*of, told, Fraction(each.mu_squared)).signed(by)
        for each, told, by in zip(made.partners, heads, signers(3), strict=True)
    ]
    (folder / "passport.json").write_bytes(
        sealed(statement(evidence, json.loads(joint_passport.dump(made)), AGREED, tuple(signed)), evidence.signer)
    )
    return folder / "passport.json", str(evidence.signer.verifier)


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    (tmp_path / "log").mkdir()
    made = Evidence(tmp_path / "log")
    made.add(b"before")
    return made


def test_a_transcript_goes_on_and_shows_of_how_many_rounds_vectors_left(evidence: Evidence, tmp_path: Path) -> None:
    """A coordinator who asked in more rounds than it tells of is seen by that number."""
    transcript, head = left(tmp_path, Fraction(1, 50), rounds=3)
    file, key = passport(evidence, tmp_path, head)
    data, words = check(file, key, AGREED.digest, [transcript])
    assert data["transcripts"] == {"p0": 3}
    assert f"learned in {PASSPORT.rounds} rounds" in words
    assert f"up to {head}, which goes on from there, with vectors of 3 rounds" in words


def test_a_partner_of_whom_nothing_had_left_has_no_head_to_show(evidence: Evidence, tmp_path: Path) -> None:
    transcript, _ = left(tmp_path, Fraction(1, 50), rounds=1)
    file, key = passport(evidence, tmp_path, "")
    _, words = check(file, key, None, [transcript])
    assert re.search("p0 signed for it, charged ε [0-9.]+, and nothing had left it until then", words)
    assert "sha256:," not in words and "sha256:\n" not in words


@pytest.mark.parametrize(
    ("charged", "delta", "says"),
    [(Fraction(1, 40), DELTA, "it was charged more until then than `p0` signed for"), (Fraction(1, 50), 1e-3, "its ε is at another δ")],
)
def test_a_partner_whose_transcript_says_otherwise_than_it_signed_is_found(
    evidence: Evidence, tmp_path: Path, charged: Fraction, delta: float, says: str
) -> None:
    transcript, head = left(tmp_path, charged, delta)
    file, key = passport(evidence, tmp_path, head)
    with pytest.raises(IntegrityError, match=says):
        check(file, key, None, [transcript])
