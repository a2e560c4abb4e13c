"""What is handed out to check the log with: a published folder, cosignatures, proofs, a subject's own leaf; verified by the one file."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit import log, verify
from audit.checkpoint import Verifier, read_checkpoint
from audit.witness import Cosigner, Witness, add_checkpoint
from tests.scenes import AUDITOR, OFFICER, REFUSING, Shop

pytestmark = pytest.mark.slow

COSIGNER = Cosigner(Ed25519PrivateKey.from_private_bytes(b"w" * 32), "witness.example/1")


def alone(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """The verifier as somebody else runs it."""
    shutil.copy(verify.__file__, folder / "verify.py")
    return subprocess.run([sys.executable, "-I", "verify.py", *map(str, words)], check=False, cwd=folder, capture_output=True, text=True)


def test_a_log_is_published_witnessed_and_proved(out: Shop, tmp_path: Path) -> None:
    folder, key = tmp_path / "log", (out.root / ".consentric/keys/log.vkey").read_text().strip()
    first = out.run("audit", "publish", str(folder), "--json", by=AUDITOR)
    assert first.code == 0 and first.data["files"] > 0
    assert out.run("audit", "publish", str(out.root / "log"), by=AUDITOR).code == 2
    assert alone(tmp_path, "--key", key, "--tiles", "log", "--last-seen", "seen").returncode == 0
    note = (folder / "checkpoint").read_text()
    assert read_checkpoint(note, Verifier.parse(key)).size == first.data["entries"]
    # a witness that never heard of this log before, and then sees it grow
    witness = Witness(COSIGNER, [Verifier.parse(key)], tmp_path)
    (tmp_path / "answer").write_text(witness.answer(add_checkpoint(0, [], note), 1_700_000_000))
    policy = tmp_path / "policy"
    policy.write_text(f"log {key}\nwitness first {COSIGNER.vkey}\nquorum first\n")
    assert alone(tmp_path, "--trust", policy, "--tiles", "log").returncode == 6
    assert out.run("audit", "cosign", str(tmp_path / "answer"), by=AUDITOR).code == 2  # who is a witness is not said
    shutil.copy(policy, out.root / "log.policy")
    done = out.run("audit", "cosign", str(tmp_path / "answer"), "--to", str(folder), "--json", by=AUDITOR)
    assert done.code == 0 and done.data["witnesses"] == ["witness.example/1"]
    assert alone(tmp_path, "--trust", policy, "--tiles", "log").returncode == 0
    # proofs are made under what was cosigned
    for what in ("0", "groups"):
        assert out.run("audit", "prove", what, "--to", str(tmp_path / f"{what}.tlog-proof"), by=AUDITOR).code == 0
        shown = alone(tmp_path, "--trust", policy, "--proof", f"{what}.tlog-proof")
        assert shown.returncode == 0 and ("workspace.created" if what == "0" else "build.released") in shown.stdout
    assert out.run("audit", "prove", "99999", "--to", str(tmp_path / "x"), by=AUDITOR).code == 2
    # and the next publication goes on from there
    again = out.run("audit", "publish", str(folder), "--json", by=AUDITOR)
    assert again.code == 0 and again.data["entries"] > first.data["entries"]
    assert alone(tmp_path, "--key", key, "--tiles", "log", "--last-seen", "seen").returncode == 0
    new = (folder / "checkpoint").read_text()
    with out.workspace(AUDITOR).store.read() as session:
        proof = log.consistency_proof(session.connection(), first.data["entries"], again.data["entries"])
    assert witness.answer(add_checkpoint(first.data["entries"], proof, new), 1_700_000_001)
    raw = (folder / "tile/entries/000.p" / str(again.data["entries"])).read_bytes()
    (folder / "tile/entries/000.p" / str(again.data["entries"])).write_bytes(raw.replace(b"groups", b"Groups", 1))
    broken = alone(tmp_path, "--key", key, "--tiles", "log", "--last-seen", "seen")
    assert broken.returncode == 6 and "entry " in broken.stdout
    assert [e["action"] for e in out.log() if e["action"] in ("log.published", "log.proved", "log.cosigned")] == [
        *("log.published", "log.cosigned", "log.proved", "log.proved", "log.proved", "log.published")
    ]


def test_a_subject_checks_what_a_build_did_with_them_and_sees_nobody_else(out: Shop, tmp_path: Path) -> None:
    key = (out.root / ".consentric/keys/log.vkey").read_text().strip()
    inside, left_out = out.inside(out.newest("groups").id)[0], min(REFUSING)
    for subject, says in ((inside, "was used"), (left_out, "was left out, for reason")):
        file = tmp_path / f"{subject}.json"
        assert out.run("audit", "prove", "groups", "--subject", subject, "--to", str(file), by=AUDITOR).code == 3
        assert out.run("audit", "prove", "groups", "--subject", subject, "--to", str(file), by=OFFICER).code == 0
        shown = alone(tmp_path, "--key", key, "--opening", file)
        assert shown.returncode == 0 and f"`{subject}` {says}" in shown.stdout
        raw = file.read_text()
        assert raw.count("person-") == 1
        leaf = json.loads(raw)
        for name, value in (("value", leaf["opening"]["value"][:-1] + "7"), ("salt", "00" * 32), ("index", leaf["opening"]["index"] ^ 1)):
            file.write_text(json.dumps({**leaf, "opening": {**leaf["opening"], name: value}}))
            assert alone(tmp_path, "--key", key, "--opening", file).returncode == 6
    never = out.run("audit", "prove", "groups", "--subject", "person-99999", "--to", str(tmp_path / "never"), by=OFFICER)
    assert never.code == 2 and "no leaf of build" in never.err and not (tmp_path / "never").exists()
    assert "person-" not in json.dumps([entry for entry in out.log() if entry["action"] == "subject.proved"])
