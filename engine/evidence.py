"""The log on the command line: reading it, verifying it, the newest checkpoint."""

from __future__ import annotations

import fcntl
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine

from audit import log as audit_log
from audit import verify as verifier
from engine import roles
from engine.gates import gate
from engine.workspace import Workspace, WorkspaceError
from governance.databases import file_of
from governance.roles import Action


def log(workspace: Workspace, last: int, action: str | None) -> list[dict[str, Any]]:
    """The newest `last` entries (0: all), oldest first, of actions that begin with `action`. The look is logged."""
    roles.look(workspace, "log.read", Action.READ_LOG)
    with workspace.store.read() as session:
        connection = session.connection()
        size = audit_log.size(connection)
        start = 0 if action or not last else max(0, size - last)
        found = [{"index": entry.index, **entry.parsed} for entry in audit_log.entries(connection, start, size)]
    chosen = [entry for entry in found if not action or entry["action"].startswith(action)]
    for entry in chosen:
        entry["summary"] = _summary(entry["facts"])
    return chosen[-last:] if last else chosen


def verify(where: Path | None, passport: Path | None, last_seen: Path | None) -> tuple[bool, list[str]]:
    """What the stand-alone verifier finds in a workspace's log (or a passport); nothing is opened, so nothing is mended."""
    workspace = Workspace.find(where)
    gate(roles.decide(workspace, Action.VERIFY_LOG))
    key = verifier.parse_key(workspace.keys.verifier_key)
    if passport is not None:
        findings, _ = verifier.verify_passport(_read(passport), key, f"passport `{passport}`")
        report = verifier.Report(tuple(findings))
        summary = f"passport `{passport}`: " + (
            "signatures, log proof and ε of Gaussian draws hold" if not findings else "integrity broken"
        )
    else:
        with _log_files(workspace) as (database, checkpoint):
            report = verifier.verify_log(database, checkpoint, key, last_seen)
        summary = f"{report.entries} entries, {report.covered} under a signed checkpoint: " + (
            "integrity broken" if report.findings else "nothing was changed, nothing is missing"
        )
    return not report.findings, [*(f"{finding.place}: {finding.problem}" for finding in report.findings), summary]


@contextmanager
def _log_files(workspace: Workspace) -> Iterator[tuple[Path, Path]]:
    """Database and checkpoint as files, which is what the verifier reads: of PostgreSQL, a copy of the log's two tables.

    The checkpoint is copied first, so that a log that grows meanwhile is longer than it and never shorter.
    """
    checkpoint = workspace.hidden / "checkpoint"
    database = file_of(workspace.settings.database_url)
    if database is not None:
        yield database, checkpoint
        return
    with tempfile.TemporaryDirectory(prefix="verify-", dir=workspace.hidden) as folder:
        database, copied = Path(folder) / "log.db", Path(folder) / "checkpoint"
        if checkpoint.exists():
            with checkpoint.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH)
                copied.write_bytes(file.read())
        copy = create_engine(f"sqlite:///{database}")
        with workspace.store.read() as session, copy.begin() as to:
            audit_log.copy(session.connection(), to)
        copy.dispose()
        yield database, copied


def checkpoint(workspace: Workspace) -> str:
    """The newest signed tree head, as a note."""
    newest = workspace.checkpoint()
    if newest is None:
        raise WorkspaceError("this workspace has no checkpoint yet")
    return newest.note


def _summary(facts: dict[str, Any]) -> str:
    """Short facts on one line."""
    parts = [f"{key}={_short(key, value)}" for key, value in facts.items()]
    line = " ".join(part if len(part) <= 48 else part[:45] + "…" for part in parts)
    return line if len(line) <= 110 else line[:109] + "…"


def _short(key: str, value: Any) -> str:
    """A fraction as a decimal number, everything else as it is."""
    if key == "mu_squared":
        return f"{float(Fraction(str(value))):.3g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WorkspaceError(f"passport `{path}` cannot be read: {error.strerror}") from error
