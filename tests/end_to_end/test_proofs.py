"""What is handed out to check the log with: a published folder, cosignatures, proofs, a subject's own leaf; verified by the one file."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit import log, verify
from audit import passport as passports
from audit.checkpoint import Verifier, read_checkpoint
from audit.witness import Cosigner, Witness, add_checkpoint
from engine import passport_checks
from governance.admission import Reason
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
    passport = next((out.root / ".consentric/releases").glob("*/passport.json"))
    lonely = out.run("audit", "verify", str(passport), by=AUDITOR)
    assert lonely.code == 6 and "has no quorum" in lonely.out
    done = out.run("audit", "cosign", str(tmp_path / "answer"), "--to", str(folder), "--json", by=AUDITOR)
    assert done.code == 0 and done.data["witnesses"] == ["witness.example/1"]
    assert alone(tmp_path, "--trust", policy, "--tiles", "log").returncode == 0
    # so are the passports of what is out, from then on
    assert alone(tmp_path, "--trust", policy, "--passport", passport).returncode == 0
    held = out.run("audit", "verify", str(passport), by=AUDITOR)
    assert held.code == 0 and "digests, log proof under its quorum and ε" in held.out
    assert sorted(out.log()[-1]["facts"]["passports"]) == sorted(path.name for path in passport.parent.parent.iterdir())
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
    assert out.run("audit", "verify", by=AUDITOR).code == 0
    raw = (folder / "tile/entries/000.p" / str(again.data["entries"])).read_bytes()
    (folder / "tile/entries/000.p" / str(again.data["entries"])).write_bytes(raw.replace(b"groups", b"Groups", 1))
    broken = alone(tmp_path, "--key", key, "--tiles", "log", "--last-seen", "seen")
    assert broken.returncode == 6 and "entry " in broken.stdout
    assert [e["action"] for e in out.log() if e["action"] in ("log.published", "log.proved", "log.cosigned")] == [
        *("log.published", "log.cosigned", "log.proved", "log.proved", "log.proved", "log.published")
    ]


def test_a_passport_of_a_fork_or_with_other_digests_than_were_recorded_is_none_of_this_log(out: Shop, tmp_path: Path) -> None:
    fork = out.copy(tmp_path / "fork" / "shop")
    for shop, segment in ((out, "groups"), (fork, "returners")):
        assert shop.run("plan", segment).code == 0
    assert fork.run("build", "groups").code == 0 and fork.run("approve", "groups", by=OFFICER).code == 0
    theirs = fork.root / ".consentric/releases" / fork.newest("groups").id / "passport.json"
    assert alone(tmp_path, "--key", (out.root / ".consentric/keys/log.vkey").read_text().strip(), "--passport", theirs).returncode == 0
    found = out.run("audit", "verify", str(theirs), by=AUDITOR)
    assert found.code == 6 and "is not of this log" in found.out
    raw = next((out.root / ".consentric/releases").glob("*/passport.json")).read_bytes()
    signed, held = passports.contents(raw)
    key = verify.parse_key((out.root / ".consentric/keys/log.vkey").read_text().strip())

    def findings() -> list[str]:
        return [each.problem for each in passport_checks.findings(out.workspace(AUDITOR), raw, "it", verify.Trust((key,)))]

    assert not findings()
    with pytest.MonkeyPatch.context() as lie:
        lie.setattr(passports, "contents", lambda _: (replace(signed, policy="0" * 64), held))
        assert findings() == ["its policy is not the one that its build was recorded with"]


def test_reasons_read_as_they_are_named() -> None:
    assert [reason.name.lower().replace("_", " ") for reason in sorted(Reason)] == verify.REASONS


def test_a_subject_checks_what_a_build_did_with_them_and_sees_nobody_else(out: Shop, tmp_path: Path) -> None:
    key = (out.root / ".consentric/keys/log.vkey").read_text().strip()
    inside, left_out = out.inside(out.newest("groups").id)[0], min(REFUSING)
    for subject, says in ((inside, "was used"), (left_out, "was left out: refused")):
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
    # after an erasure the leaf stays, so that what was handed out still holds, and so does everybody else's; nothing new is told of them
    file.write_text(raw)
    (out.root / "data" / "consents.csv").unlink()  # which is not ours to rewrite
    assert out.run("rights", "erase", left_out, "--yes", by=OFFICER).code == 0
    assert alone(tmp_path, "--key", key, "--opening", file).returncode == 0
    gone = out.run("audit", "prove", "groups", "--subject", left_out, "--to", str(tmp_path / "gone"), by=OFFICER)
    assert gone.code == 2 and "were erased since" in gone.err
    assert out.run("audit", "prove", "groups", "--subject", inside, "--to", str(tmp_path / "again.json"), by=OFFICER).code == 0
    assert alone(tmp_path, "--key", key, "--opening", "again.json").returncode == 0
    never = out.run("audit", "prove", "groups", "--subject", "person-99999", "--to", str(tmp_path / "never"), by=OFFICER)
    assert never.code == 2 and "no leaf of build" in never.err and not (tmp_path / "never").exists()
    assert "person-" not in json.dumps([entry for entry in out.log() if entry["action"] == "subject.proved"])
