"""The verifier as somebody else runs it: the one file, on a machine without the rest."""

import ast
import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from audit import verify
from audit.passport import issue
from tests.evidence import Evidence, body, signer
from tests.unit.audit.test_passport import PASSPORT, proof_of

KEY = str(signer().verifier)


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    evidence = Evidence(tmp_path)
    evidence.add(*(body(number) for number in range(20)))
    return evidence


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    shutil.copy(verify.__file__, folder / "verify.py")
    return folder


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Isolated: neither our folder nor the environment is on the path."""
    return subprocess.run(
        [sys.executable, "-I", "verify.py", *map(str, arguments)], check=False, cwd=folder, capture_output=True, text=True
    )


def test_it_is_one_short_module_on_cryptography_alone() -> None:
    source = Path(verify.__file__).read_text(encoding="utf-8")
    modules = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(source))
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [])
        + ([str(node.module)] if isinstance(node, ast.ImportFrom) else [])
    }
    assert len(source.splitlines()) <= 500
    assert modules - sys.stdlib_module_names == {"cryptography"}


def test_it_runs_alone(evidence: Evidence, elsewhere: Path) -> None:
    passport = elsewhere / "passport.json"
    passport.write_bytes(issue(PASSPORT, proof_of(evidence, PASSPORT), signer()))
    assert run(elsewhere, "--key", KEY, "--proof", passport).returncode == 6  # it would not be verified as the passport that it is
    evidence.add(body(77), publish=False)
    files = ("--database", evidence.database, "--checkpoint", evidence.checkpoint)
    done = run(elsewhere, "--key", KEY, *files, "--passport", passport, "--last-seen", "seen")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"passport `{passport}`: is of build {PASSPORT.build}",
        "23 entries, 22 covered by a checkpoint, 1 not yet",
        "nothing wrong found",
    ]
    assert (elsewhere / "seen").read_text().splitlines()[1] == "22"
    connection = sqlite3.connect(evidence.database)
    connection.execute("UPDATE log_entries SET body = x'00' WHERE idx = 3")
    connection.commit()
    connection.close()
    done = run(elsewhere, "--key", KEY, *files, "--json")
    assert done.returncode == 6
    found = json.loads(done.stdout)
    assert found["findings"][0] == {"place": "entry 3", "problem": "does not match its stored hash"}


def test_a_passport_of_a_fork_is_found_in_the_log(evidence: Evidence, elsewhere: Path, tmp_path: Path) -> None:
    """Both verify by themselves, signed with one key; together they don't."""
    (tmp_path / "fork").mkdir()
    fork = Evidence(tmp_path / "fork")
    passport = elsewhere / "passport.json"
    passport.write_bytes(issue(PASSPORT, proof_of(fork, PASSPORT), signer()))
    files = ("--database", evidence.database, "--checkpoint", evidence.checkpoint)
    assert run(elsewhere, "--key", KEY, *files).returncode == 0
    assert run(elsewhere, "--key", KEY, "--passport", passport).returncode == 0
    done = run(elsewhere, "--key", KEY, *files, "--passport", passport)
    assert done.returncode == 6
    assert "was signed over another root for 2 entries" in done.stdout


def test_a_key_counts_as_it_is_spelt_and_not_as_a_path(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Base64 has slashes, which a path would lose at its end or where two meet."""
    spelt = [str(signer(seed).verifier) for seed in range(1, 250)]
    awkward = [key for key in spelt if key.endswith("/") or "//" in key]
    assert awkward
    (tmp_path / "no proof").write_text("")
    for key in awkward:
        assert verify.main(["--key", key, "--proof", str(tmp_path / "no proof")]) == verify.BROKEN
        assert "is no c2sp.org/tlog-proof" in capsys.readouterr().out


def test_the_key_may_come_from_a_file(evidence: Evidence, elsewhere: Path) -> None:
    (elsewhere / "key").write_text(KEY + "\n")
    assert run(elsewhere, "--key", "key", "--database", evidence.database, "--checkpoint", evidence.checkpoint).returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--key", KEY],
        ["--key", KEY, "--database", "x"],
        ["--key", "no key", "--passport", "verify.py"],
        ["--key", KEY, "--passport", "nowhere"],
    ],
)
def test_wrong_usage(elsewhere: Path, arguments: list[str]) -> None:
    done = run(elsewhere, *arguments)
    assert done.returncode == 2 and "error:" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("content", [None, b"", b"not a database at all, but text that is long enough" * 99])
def test_what_is_no_log_is_found_and_not_created(evidence: Evidence, content: bytes | None) -> None:
    evidence.database.unlink()
    if content is not None:
        evidence.database.write_bytes(content)
    assert evidence.verify().findings
    assert evidence.database.exists() == (content is not None)


def test_a_new_log_is_fine(tmp_path: Path) -> None:
    evidence = Evidence(tmp_path)
    evidence.publish()
    report = evidence.verify()
    assert (report.findings, report.entries, report.covered) == ((), 0, 0)


def test_findings_are_few_however_much_is_wrong(evidence: Evidence) -> None:
    evidence.add(*(body(number) for number in range(5000)))
    connection = sqlite3.connect(evidence.database)
    connection.execute("UPDATE log_entries SET body = x'00'")
    connection.commit()
    connection.close()
    assert 100 <= len(evidence.verify().findings) <= 110


def test_chunks_do_not_matter(evidence: Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    for chunk in (1, 2, 3, 7, 19, 20, 21):
        monkeypatch.setattr(verify, "CHUNK", chunk)
        assert evidence.verify().findings == ()
        assert evidence.verify().entries == 20


@pytest.mark.parametrize(
    "arguments",
    [
        ["--tiles", "x", "--last-seen", "one", "--last-seen", "two"],
        ["--tiles", "x", "--tiles", "y", "--proof", "verify.py"],
        ["--last-seen", "one", "--proof", "verify.py"],
        ["--tiles", "x", "--database", "y", "--checkpoint", "z"],
    ],
)
def test_nothing_that_was_asked_for_is_left_out_in_silence(elsewhere: Path, arguments: list[str]) -> None:
    done = run(elsewhere, "--key", KEY, *arguments)
    assert done.returncode == 2 and "each of these once" in done.stderr


def test_a_path_that_is_too_long_is_a_finding(elsewhere: Path) -> None:
    done = run(elsewhere, "--key", KEY, "--tiles", "a" * 300)
    assert (done.returncode, done.stderr) == (6, "") and "is malformed: OSError" in done.stdout


def test_a_checkpoint_that_nobody_signed_keeps_nobody_busy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its size is asked of the folder before it is known whose it is."""
    (tmp_path / "log" / "tile").mkdir(parents=True)
    claim = f"log\n{10**18 - 1}\nAAAA\n\n"
    (tmp_path / "log" / "checkpoint").write_text(claim)
    (tmp_path / "proof").write_text(f"{verify.PROOF}\nextra \nindex 0\n\n{claim}")
    assert verify.main(["--key", KEY, "--tiles", str(tmp_path / "log"), "--proof", str(tmp_path / "proof")]) == verify.BROKEN
    assert "not signed by" in capsys.readouterr().out


def test_names_in_bytes_that_are_no_text_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (proof := tmp_path / "\udcff").write_text("no proof")
    assert verify.main(["--key", KEY, "--proof", str(proof)]) == verify.BROKEN
    assert "\\udcff`: is no c2sp.org/tlog-proof" in capsys.readouterr().out
