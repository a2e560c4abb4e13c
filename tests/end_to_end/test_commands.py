"""Every command: it has help, its --json parses, wrong usage exits 2, and nothing but text comes out where nobody looks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer.main
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.witness import Cosigner
from engine.cli import app
from engine.questions.question import Given
from engine.questions.register import QUESTIONS
from governance import exports, key_backup
from governance.exports import NoticeId
from tests.partnerships import drawn_up
from tests.scenes import ADS, ANALYST, OFFICER, RETURNERS, SUBJECTS, Shop, environment, run, write_consents

SLOW_TO_IMPORT = {
    "duckdb",
    "numpy",
    "pyarrow",
    "sklearn",
    "scipy",
    "opendp",
    "sqlalchemy",
    "sqlmodel",
    "sqlglot",
    "pydantic",
    "cryptography",
    "rich",
    "cedarpy",
    "jwt",
    "alembic",
}

SLOW_AND_UNUSED = {"sklearn", "scipy", "pandas", "opendp", "torch", "matplotlib", "alembic", "jinja2", "pyspark", "psycopg"}
"""What only training, noise, pages, migrations and other databases need."""

NEEDING_A_PARSER = {"basis", "expired-consent", "conflicting-signals", "subject-access", "column-denied", "special-categories"}
NEEDING_A_PARSER |= {"subject-in-round"}
"""Questions that judge people or columns anew, by the expressions of a segment, or look at a record that taking part makes."""


def commands(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every command, groups too."""
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        yield (*path, name)
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))


NOTICE = NoticeId("0123456789abcdef")
BACKUP, ANSWER = "keys.backup", "answer"
PASSPHRASE = {"CONSENTRIC_KEY_PASSPHRASE": "correct horse battery staple"}
LEAVES = sorted(path for path in commands() if not any(other[: len(path)] == path and other != path for other in commands()))
USES: dict[tuple[str, ...], tuple[str, ...]] = {
    ("approve",): ("groups",),
    ("reject",): ("groups",),
    ("audit", "ask"): ("policy-of-build", "--segment", "returners"),
    ("audit", "checkpoint"): (),
    ("audit", "cosign"): (ANSWER,),
    ("audit", "export"): ("art30", "--to", "../record.html"),
    ("audit", "log"): (),
    ("audit", "privacy"): ("groups", "--fits", "2"),
    ("audit", "prove"): ("0", "--to", "../first.tlog-proof"),
    ("audit", "publish"): ("../log",),
    ("audit", "verify"): (),
    ("budget",): (),
    ("build",): ("groups",),
    ("consent", "decode"): ("1YNN",),
    ("consent", "grant"): (SUBJECTS[0], ADS),
    ("consent", "import"): ("data/consents.csv", "--again"),
    ("consent", "merge"): (SUBJECTS[0], "--into", SUBJECTS[5]),
    ("consent", "object"): (SUBJECTS[0],),
    ("consent", "show"): (SUBJECTS[0],),
    ("consent", "signals"): (),
    ("consent", "snapshot"): (),
    ("consent", "split"): (SUBJECTS[1],),
    ("consent", "stats"): (),
    ("consent", "withdraw"): (SUBJECTS[0],),
    ("doctor",): (),
    ("fairness",): ("returners",),
    ("init",): ("elsewhere", "--demo"),
    ("keys", "backup"): ("new.backup",),
    ("keys", "list"): (),
    ("keys", "restore"): (BACKUP,),
    ("keys", "retire"): (),
    ("keys", "rotate"): ("split", "--yes"),
    ("migrate",): (),
    ("plan",): ("groups", "--compare", "0.5,1"),
    ("policy", "approve"): ("rules",),
    ("policy", "check"): (),
    ("policy", "diff"): ("rules", "strict"),
    ("policy", "explain"): ("purchases.street", "--dataset", "shop", "--policy", "rules", "--purpose", ADS),
    ("policy", "test"): ("strict",),
    ("rights", "access"): (SUBJECTS[0],),
    ("rights", "erase"): (SUBJECTS[0], "--yes"),
    ("rights", "object"): (SUBJECTS[0],),
    ("rights", "replay"): (),
    ("roles",): (),
    ("schema",): ("contract",),
    ("segments", "acknowledge"): (NOTICE,),
    ("segments", "diff"): ("groups", "returners"),
    ("segments", "export"): ("returners", "--to", "../list.csv"),
    ("segments", "list"): (),
    ("segments", "members"): ("returners",),
    ("segments", "notices"): (),
    ("segments", "recall"): ("returners",),
    ("segments", "score"): ("returners",),
    ("segments", "show"): ("returners",),
    ("sweep",): (),
}
"""How each command is used where `returners` is released and `groups` waits; `demo` has a test of its own."""

WITH_OTHERS = {path for path in LEAVES if path[0] in ("collaboration", "partner")}
"""What needs a contract and others who signed it (`test_collaboration`, `test_partners`)."""


THE_ANALYSTS = {("build",), ("keys",), ("migrate",), ("rights", "replay")}
"""What officers may not do; the analyst of the shop is its administrator too."""

ANYBODYS = {("init",), ("schema",), ("roles",), ("consent", "decode"), ("audit", "verify"), ("audit", "checkpoint"), ("policy", "test")}
"""What needs no role: it shows no data, and nothing that was made of it."""


@pytest.fixture(autouse=True)
def a_passphrase_that_is_cheap_to_try(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PASSPHRASE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(key_backup, "COST", 2)


@pytest.fixture(scope="module")
def mixed(waiting: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    shop = waiting.copy(tmp_path_factory.mktemp("mixed") / "shop")
    assert shop.run("approve", "returners", by=OFFICER).code == 0
    with shop.workspace().store.transaction("notice") as write:
        handed = exports.intend(write, shop.newest("returners").id, "returners", "mail", "list.csv")
        exports.open_notice(write, NOTICE, handed, whole=False)
    assert shop.run("consent", "merge", SUBJECTS[1], "--into", SUBJECTS[2], by=OFFICER).code == 0
    assert shop.run("audit", "publish", str(shop.root.parent / "log"), by=OFFICER).code == 0
    cosigner = Cosigner(Ed25519PrivateKey.from_private_bytes(b"w" * 32), "witness.example")
    (shop.root / ANSWER).write_text(cosigner.cosign((shop.root.parent / "log" / "checkpoint").read_text(), 1_700_000_000))
    (shop.root / "log.policy").write_text(f"witness first {cosigner.vkey}\nquorum first\n")
    assert shop.run("keys", "rotate", "log", "--yes").code == 0
    with pytest.MonkeyPatch.context() as cheap:
        cheap.setattr(key_backup, "COST", 2)
        assert shop.run("keys", "backup", str(shop.root / BACKUP), env=PASSPHRASE).code == 0
    write_consents(shop.root / "data" / "consents.csv", SUBJECTS[-3:])  # of nobody who is erased here
    return shop


def test_every_command_is_used_here() -> None:
    assert {path for path in LEAVES} == {*USES, ("demo",), *WITH_OTHERS}


@pytest.mark.parametrize("path", [(), *commands()], ids=" ".join)
def test_every_command_has_help(path: tuple[str, ...]) -> None:
    shown = run(*path, "--help")
    assert shown.code == 0 and shown.err == "" and "Usage: consentric" in shown.out
    words = shown.out.split("\n\n")[1].strip()
    assert len(words) > 20  # says what it does


@pytest.mark.parametrize("path", USES, ids=" ".join)
def test_json_parses_and_is_all_that_is_on_stdout(
    mixed: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: tuple[str, ...]
) -> None:
    shop = mixed.copy(tmp_path / "shop")
    monkeypatch.chdir(shop.root)
    by = ANALYST if {path, path[:1]} & THE_ANALYSTS else OFFICER
    ran = shop.run(*path, *USES[path], "--json", by=by)
    assert ran.code == 0, ran
    found = json.loads(ran.out)
    assert isinstance(found, dict) and found
    text = mixed.copy(tmp_path / "again").run(*path, *USES[path], by=by)
    assert "\x1b" not in text.out + text.err + ran.err


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("plan",),
        ("plan", "groups", "--nonsense"),
        ("plan", "groups", "more"),
        ("build", "nothing-of-that-name"),
        ("schema", "nonsense"),
        ("consent", "import", "no-such-file.csv"),
        ("consent", "grant", "somebody", "nonsense"),
        ("consent", "grant", "somebody", ADS, "--valid-for", "soon"),
        ("consent", "grant", "somebody"),
        ("plan", "groups", "--compare", "a lot"),
        ("plan", "groups", "--compare", "-1"),
        ("segments", "members", "nothing-of-that-name"),
        ("segments", "export", "returners", "--to", "list.doc"),
        ("segments", "export", "returners"),
        ("segments", "diff", "groups"),
        ("audit", "log", "--last", "many"),
        ("audit", "verify", "no-such-passport.json"),
        ("policy", "explain", "purchases.street", "--dataset", "nonsense", "--policy", "rules", "--purpose", ADS),
        ("policy", "diff", "rules", "nonsense"),
        ("policy", "test", "nonsense"),
        ("policy", "test", "--mutants"),
        ("approve", "nothing-of-that-name"),
        ("plan", "../segments/groups"),
    ],
)
def test_wrong_usage_exits_2_with_one_error(mixed: Shop, words: tuple[str, ...]) -> None:
    failed = mixed.run(*words, by=OFFICER if words[0] == "approve" else ANALYST)
    assert failed.code == 2 and failed.out == "" and "error" in failed.err.lower() and "Traceback" not in failed.err


def test_what_went_wrong_is_json_too(mixed: Shop) -> None:
    failed = mixed.run("plan", "nothing-of-that-name", "--json")
    assert failed.data["exit"] == 2 and "nothing-of-that-name" in failed.data["error"]
    refused = mixed.run("consent", "stats", "--json", by=ANALYST)
    assert refused.code == 3 == refused.data["exit"] and refused.data["refused"][0]["rule"] == "exact-figures-are-the-officers"


@pytest.mark.parametrize("path", USES, ids=" ".join)
def test_whoever_has_no_role_gets_nothing_from_any_command(
    mixed: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: tuple[str, ...]
) -> None:
    """So that no command opens a workspace without naming the action that it needs."""
    shop = mixed.copy(tmp_path / "shop")
    monkeypatch.chdir(shop.root)
    ran = shop.run(*path, *USES[path], by="nobody")
    denied = [entry for entry in shop.log() if entry["action"] == "access.denied" and entry["principal"] == "nobody"]
    if path in ANYBODYS:
        assert ran.code == 0 and not denied
    else:
        assert ran.code == 3 and ran.out == "" and "`nobody` has no role" in ran.err
        assert len(denied) == 1 and not (shop.root / "list.csv").exists()


def test_wrong_usage_is_json_too(mixed: Shop) -> None:
    for words in (("plan", "groups", "--nonsense"), ("nonsense",), ("plan",), ("audit", "log", "--last", "many")):
        failed = mixed.run(*words, "--json")
        assert failed.code == 2 == failed.data["exit"] and failed.data["error"] in failed.err.replace("Error: ", "")


def test_a_group_without_a_command_shows_its_help() -> None:
    for path in ((), ("consent",), ("segments",), ("audit",), ("policy",)):
        shown = run(*path)
        assert "Usage: consentric" in shown.out + shown.err


def test_help_imports_nothing_that_is_slow() -> None:
    """What keeps `--help` under 0.3 s on any machine."""
    program = (
        "import sys\nfrom engine.cli import main\nsys.argv = ['consentric', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\nprint(*sys.modules, file=sys.stderr)"
    )
    words = [sys.executable, "-W", "ignore", "-c", program]
    ended = subprocess.run(words, env=environment(Path.cwd()), capture_output=True, text=True, check=True)
    assert "Usage" in ended.stdout
    assert not SLOW_TO_IMPORT & {name.partition(".")[0] for name in ended.stderr.split()}


@pytest.mark.slow
def test_whoever_trains_nothing_waits_for_nothing_that_trains(out: Shop) -> None:
    """All in one process, so that what each of them loads is seen."""
    asked = ("--segment", "groups", "--subject", SUBJECTS[0])
    lines = [
        ("audit", "verify"),
        ("segments", "list"),
        ("segments", "members", "groups"),
        ("consent", "show", SUBJECTS[0]),
        ("plan", "groups"),
        ("audit", "ask", "basis", *asked),
        ("audit", "ask", "subject-access", *asked[2:]),
    ]
    loaded = loaded_by(out, lines)
    assert not SLOW_AND_UNUSED & loaded and "duckdb" in loaded


@pytest.mark.slow
def test_a_question_that_judges_nobody_loads_neither_the_data_engine_nor_a_parser(out: Shop) -> None:
    """Starting takes longer than answering: what a process loads is what whoever asks waits for."""
    drawn_up(out)
    given = {Given.SEGMENT: "groups", Given.SUBJECT: SUBJECTS[0], Given.POLICY: "rules", Given.COLLABORATION: "joint"}
    light = [each for each in QUESTIONS if each.id not in NEEDING_A_PARSER]
    lines = [("audit", "ask", each.id, *(word for need in sorted(each.needs) for word in (f"--{need}", given[need]))) for each in light]
    assert len(lines) == 21
    assert not (SLOW_AND_UNUSED | {"duckdb", "sqlglot", "fideslang"}) & loaded_by(out, lines)


def loaded_by(shop: Shop, lines: Sequence[tuple[str, ...]]) -> set[str]:
    """Packages that a process has loaded once it has run these commands."""
    program = (
        f"import sys\nfrom engine.cli import main\nfor words in {lines}:\n    sys.argv = ['consentric', *words]\n"
        "    try:\n        main()\n    except SystemExit as end:\n        assert not end.code, words\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    words = [sys.executable, "-W", "ignore", "-c", program]
    ended = subprocess.run(words, env=environment(shop.root, OFFICER), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return {name.partition(".")[0] for name in ended.stderr.split()}


@pytest.mark.slow
def test_no_colour_and_no_bar_where_output_is_piped(shop: Shop) -> None:
    words = [sys.executable, "-W", "ignore", "-m", "engine.cli", "build", "groups"]
    env = environment(shop.root) | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    ended = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", ended.stdout + ended.stderr)
    steps = ended.stderr.splitlines()
    assert steps[0] == "build: decide" and steps[-1] == "build: quarantine"
    assert not re.search(r"[0-9]{3}", ended.stderr)  # progress counts steps, not rows


@pytest.mark.slow
def test_a_reader_who_leaves_early_is_no_fault(out: Shop) -> None:
    for command, reader, lines in (("segments members groups", "head -n 3", 3), ("segments list", "true", 0)):
        words = f"{sys.executable} -W ignore -m engine.cli {command} | {reader}; exit ${{PIPESTATUS[0]}}"
        ended = subprocess.run(
            ["bash", "-c", words], env=environment(out.root) | {"PYTHONUNBUFFERED": ""}, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0 and ended.stderr == "" and len(ended.stdout.splitlines()) == lines, ended


@pytest.mark.slow
def test_a_number_of_steps_is_announced_that_fits(shop: Shop) -> None:
    """A bar that is not full before its end, nor far from it where the learner is not left to the forecast."""
    from engine import pipeline

    for segment, learner in (("groups", ""), ("returners", "hybrid"), ("returners", "logistic")):
        if learner:
            shop.write("segments", {**RETURNERS, "model": RETURNERS["model"] | {"learner": learner}})
        told = shop.run("build", segment).err.splitlines()
        announced = pipeline.steps(shop.workspace().segment(segment))
        assert announced - 5 <= len(told) <= announced
