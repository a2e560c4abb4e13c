"""A witness, killed with -9 around what it keeps: it never forgets what it answered for, and goes on."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.checkpoint import make_checkpoint
from audit.failpoint import KILL
from audit.merkle import leaf_hash
from audit.witness import Cosigner, Refusal, Witness, add_checkpoint
from tests.evidence import signer

COSIGNER = Cosigner(Ed25519PrivateKey.from_private_bytes(b"w" * 32), "witness.example/1")


def witness(folder: Path) -> Witness:
    return Witness(COSIGNER, [signer().verifier], folder)


def ask(folder: Path, root: bytes, old: int = 0) -> str:
    return witness(folder).answer(add_checkpoint(old, [], make_checkpoint(signer(), 1, root).note), 1_700_000_000)


@pytest.mark.parametrize(("point", "kept"), [("before-write", False), ("before-sync", True), ("after-sync", True)])
def test_a_killed_witness_answers_for_no_other_log(tmp_path: Path, point: str, kept: bool) -> None:
    root, fork = leaf_hash(b"an entry"), leaf_hash(b"another")

    def die() -> None:
        os.environ[KILL] = f"witness:{point}"
        ask(tmp_path, root)

    process = multiprocessing.get_context("fork").Process(target=die)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    if kept:
        with pytest.raises(Refusal):
            ask(tmp_path, fork, old=1)
    assert ask(tmp_path, root, old=int(kept))
    with pytest.raises(Refusal):
        ask(tmp_path, fork, old=1)
