"""Witnesses: what they cosign and refuse, policies of who is enough, and cosignatures that never make a checkpoint worse."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit import log, verify
from audit.checkpoint import read_checkpoint
from audit.merkle import IntegrityError
from audit.witness import Cosigner, Refusal, Witness, add_checkpoint, parse_request, with_cosignatures
from tests.evidence import Evidence, body, signer

LOG = str(signer().verifier)
SPECIFIED = "witness.example.com/w1"


def cosigner(seed: int) -> Cosigner:
    return Cosigner(Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32), f"witness.example/{seed}")


W = {f"W{number}": cosigner(100 + number) for number in range(1, 5)}
NAMED = "".join(f"witness {name} {each.vkey}\n" for name, each in W.items())


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    evidence = Evidence(tmp_path)
    evidence.add(*(body(number) for number in range(5)))
    return evidence


def note(evidence: Evidence) -> str:
    newest = evidence.file.read()
    assert newest is not None
    return newest.note


def request(evidence: Evidence, old: int) -> str:
    newest = evidence.file.read()
    assert newest is not None
    with evidence.read() as connection:
        return add_checkpoint(old, log.consistency_proof(connection, old, newest.size) if old else [], newest.note)


def status(witness: Witness, body: str) -> tuple[int, int | None]:
    with pytest.raises(Refusal) as refused:
        witness.answer(body, 1)
    return refused.value.status, refused.value.size


def test_a_witness_follows_a_log_that_grows_and_refuses_everything_else(evidence: Evidence, tmp_path: Path) -> None:
    witness = Witness(W["W1"], [signer().verifier], tmp_path)
    first = request(evidence, 0)
    trust = verify.parse_policy(f"log {LOG}\n{NAMED}quorum W1\n".encode())
    cosigned = note(evidence) + witness.answer(first, 1_700_000_000)
    assert verify.read_head(cosigned, trust, quorum=True)[0] == 5
    assert read_checkpoint(cosigned, signer().verifier).size == 5
    assert status(witness, first) == (409, 5)
    evidence.add(*(body(number) for number in range(5, 12)))
    grown = request(evidence, 5)
    old, hashes, text = parse_request(grown)
    assert add_checkpoint(old, hashes, text) == grown
    assert status(witness, add_checkpoint(5, hashes[:-1], text)) == (422, None)
    assert status(witness, add_checkpoint(5, [*hashes[:-1], bytes(32)], text)) == (422, None)
    assert status(witness, add_checkpoint(4, hashes, text)) == (409, 5)
    assert status(witness, add_checkpoint(13, [], text)) == (400, None)
    assert status(witness, "old 05\n\n" + text) == (400, None)
    assert status(witness, add_checkpoint(5, [bytes(32)] * 64, text)) == (400, None)
    assert status(witness, add_checkpoint(5, hashes, text.replace("example.com", "example.org", 1))) == (404, None)
    assert status(witness, add_checkpoint(5, hashes, text.replace("\n12\n", "\n13\n"))) == (403, None)
    again = Witness(W["W1"], [signer().verifier], tmp_path)  # it remembers
    assert note(evidence) + again.answer(grown, 2) and status(again, grown) == (409, 12)
    assert again.answer(request(evidence, 12), 3)  # the same tree once more


def test_a_fork_is_never_cosigned(evidence: Evidence, tmp_path: Path) -> None:
    witness = Witness(W["W1"], [signer().verifier], tmp_path)
    witness.answer(request(evidence, 0), 1)
    (tmp_path / "fork").mkdir()
    fork = Evidence(tmp_path / "fork")
    fork.add(*(body(number + 9) for number in range(5)))
    assert status(witness, add_checkpoint(5, [], note(fork))) == (409, 5)
    fork.add(body(1))
    assert status(witness, request(fork, 5))[0] == 422


def test_a_damaged_memory_stops_a_witness(evidence: Evidence, tmp_path: Path) -> None:
    witness = Witness(W["W1"], [signer().verifier], tmp_path)
    witness.answer(request(evidence, 0), 1)
    (file,) = tmp_path.glob("*.seen")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match="damaged"):
        witness.answer(request(evidence, 0), 1)


@pytest.mark.parametrize(
    ("rule", "enough"),
    [
        ("quorum none", [(), ("W1",)]),
        ("quorum W2", [("W2",), ("W1", "W2")]),
        ("group g any W1 W2\nquorum g", [("W1",), ("W2",)]),
        ("group g all W1 W2\nquorum g", [("W1", "W2")]),
        ("group g 2 W1 W2 W3\nquorum g", [("W1", "W2"), ("W1", "W3"), ("W2", "W3")]),
        ("group g 2 W1 W2 W3\ngroup h all g W4\nquorum h", [("W1", "W2", "W4"), ("W1", "W3", "W4"), ("W2", "W3", "W4")]),
    ],
)
def test_a_quorum_is_what_the_policy_says(evidence: Evidence, rule: str, enough: list[tuple[str, ...]]) -> None:
    trust = verify.parse_policy(f"# ours\n\n\tlog {LOG} https://log.example\n{NAMED}{rule}\n".encode())
    for made in [
        (),
        *((name,) for name in W),
        ("W1", "W2"),
        ("W2", "W3"),
        ("W1", "W3"),
        ("W3", "W4"),
        ("W1", "W2", "W3"),
        ("W1", "W2", "W4"),
    ]:
        text = note(evidence) + "".join(W[name].cosign(note(evidence), 7) for name in made)
        expected = any(set(each) <= set(made) for each in enough)
        if expected:
            assert verify.read_head(text, trust, quorum=True)[0] == 5
        else:
            with pytest.raises(verify.Broken, match="no quorum"):
                verify.read_head(text, trust, quorum=True)


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "quorum none",
        "quorum none\nquorum none\n",
        "quorum W9\n",
        "quorum g\ngroup g any W1\n",
        "group g any\nquorum none\n",
        "group g 0 W1\nquorum none\n",
        "group g 01 W1\nquorum none\n",
        "group g 2 W1\nquorum none\n",
        "group g any W1 W1\nquorum none\n",
        "group g any W1\ngroup h any W1\nquorum none\n",
        "group g any none\nquorum none\n",
        "group none any W1\nquorum none\n",
        "group W1 any W2\nquorum none\n",
        "group g any g\nquorum none\n",
        f"witness W1 {cosigner(9).vkey}\nquorum none\n",
        f"witness W9 {W['W1'].vkey}\nquorum none\n",
        f"witness none {cosigner(9).vkey}\nquorum none\n",
        f"witness W9 {LOG}\nquorum none\n",
        f"log {cosigner(9).vkey}\nquorum none\n",
        f"log {LOG}\nquorum none\n",
        f"log {LOG} url more\nquorum none\n",
        "witnesses W9\nquorum none\n",
        "quorum none # enough\n",
        "quorum\u00a0none\n",
        "quorum none\r\n",
        "quorum\fnone\n",
    ],
)
def test_a_policy_that_breaks_a_rule_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"policy|verifier key"):
        verify.parse_policy(f"log {LOG}\n{NAMED}{wrong}".encode())


def test_names_are_opaque_bytes() -> None:
    raw = NAMED.encode().replace(b"W1", b"\xe2\x84\xaa").replace(b"W2", b"K").replace(b"W3", b"\xff")
    trust = verify.parse_policy(raw + b"group g 2 \xe2\x84\xaa K \xff\nquorum g\n")
    assert trust.logs == () and len(trust.witnesses) == 4


def test_cosignatures_are_added_once_and_make_nothing_worse(evidence: Evidence) -> None:
    trust = verify.parse_policy(f"log {LOG}\n{NAMED}quorum none\n".encode())
    text = note(evidence)
    once = with_cosignatures(text, W["W1"].cosign(text, 7) + cosigner(50).cosign(text, 7), trust)
    twice = with_cosignatures(once, W["W1"].cosign(text, 8) + W["W2"].cosign(text, 8), trust)
    assert once.count("\n— ") == 2 and twice.count("\n— ") == 3
    assert read_checkpoint(twice, signer().verifier).root == read_checkpoint(text, signer().verifier).root
    assert with_cosignatures(text, twice, trust).count("\n— ") == 3
    for more in ("", cosigner(50).cosign(text, 7), text):
        with pytest.raises(IntegrityError, match="none of the lines"):
            with_cosignatures(text, more, trust)
    evidence.add(body(6))
    with pytest.raises(IntegrityError, match="the signature is wrong, of witness"):
        with_cosignatures(text, W["W1"].cosign(note(evidence), 7), trust)
    with pytest.raises(IntegrityError, match="of another checkpoint"):
        with_cosignatures(text, note(evidence) + W["W1"].cosign(note(evidence), 7), trust)
