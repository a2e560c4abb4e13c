"""The log on the command line: reading it, verifying it, handing it out as files, and what witnesses sign of it.

The checkpoint that was published last is kept in `.consentric/published`, with what witnesses signed of it; proofs are made under it
where it covers their entry, and under the newest otherwise. Who is a witness stands in `log.policy` beside consentric.toml (C2SP
tlog-policy).
"""

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
from audit import passport as passports
from audit import proof, tiles, witness
from audit import verify as verifier
from audit.checkpoint import Checkpoint, Verifier, split_note
from audit.merkle import IntegrityError
from engine import passport_checks, roles
from engine.files import whole_file
from engine.gates import gate
from engine.wording import reason_words
from engine.workspace import Workspace, WorkspaceError, now
from governance import builds
from governance.builds import Build, Status
from governance.databases import file_of
from governance.roles import Action
from governance.store import stamp
from governance.verdicts import Reason

POLICY, PUBLISHED = "log.policy", "published"
"""Names of the policy of witnesses, in a workspace, and of the checkpoint that was published last, in its hidden folder."""

VERIFIED = "verified"
"""There too: when every entry was read last and nothing was wrong, and the checkpoint of then."""


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


def verify(where: Path | None, passport: Path | None, last_seen: Path | None, policy: Path | None = None) -> tuple[bool, list[str]]:
    """What the stand-alone verifier finds in a workspace's log; nothing is opened, so nothing is mended.

    Or in a passport, of a segment or of a joint model, which needs a quorum of witnesses where there is a `policy`, and must be of this
    log (`engine.passport_checks`).
    """
    workspace = Workspace.find(where)
    gate(roles.decide(workspace, Action.VERIFY_LOG))
    trust = _trust(workspace, policy)
    if passport is not None:
        raw, place = _read(passport), f"passport `{passport}`"
        report = verifier.Report(tuple(passport_checks.findings(workspace, raw, place, trust)))
        held = "signatures, digests, log proof" + (" under its quorum" if trust.quorum != (0, ()) else "") + " and ε of Gaussian draws hold"
        summary = f"{place}: {held if not report.findings else 'integrity broken'}"
    else:
        kept = workspace.hidden / PUBLISHED
        handed = [("published checkpoint", kept.read_text(encoding="utf-8"))] if kept.exists() else []
        with _log_files(workspace) as (database, checkpoint):
            report = verifier.verify_log(database, checkpoint, trust._replace(logs=trust.logs[-1:]), last_seen, handed)
        if not report.findings:
            _remember(workspace, report.covered)
        summary = f"{report.entries} entries, {report.covered} under a signed checkpoint: " + (
            "integrity broken" if report.findings else "nothing was changed, nothing is missing"
        )
    return not report.findings, [*(f"{finding.place}: {finding.problem}" for finding in report.findings), summary]


def _remember(workspace: Workspace, covered: int) -> None:
    """Keep when all of this was read; a log that has grown since is remembered the next time."""
    newest = workspace.checkpoint()
    if newest is not None and newest.size == covered:
        with whole_file(workspace.hidden / VERIFIED, "verified") as partial:
            partial.write_text(f"{stamp(now())}\n{newest.note}", encoding="utf-8")


def verified(workspace: Workspace) -> tuple[str, Checkpoint] | None:
    """When `verify` last read every entry and found nothing wrong, and the checkpoint of then; None where it never did.

    Raises IntegrityError for a checkpoint that is not of this log.
    """
    path = workspace.hidden / VERIFIED
    at, _, note = path.read_text(encoding="utf-8").partition("\n") if path.exists() else ("", "", "")
    return (at, workspace.believed(note)) if note else None


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
    return _newest(workspace).note


def publish(workspace: Workspace, folder: Path) -> tuple[int, int]:
    """Write the log to a folder that anybody may serve; gives the number of entries and of files written. Logged. Raises Refused."""
    workspace.check_leaving(folder)
    roles.look(workspace, "log.published", Action.READ_LOG)
    newest, held = _newest(workspace), folder / tiles.CHECKPOINT
    before = workspace.believed(held.read_text(encoding="utf-8")) if held.exists() else None
    with workspace.store.read() as session:
        written = tiles.publish(session.connection(), folder, newest, before)
    _keep(workspace, newest.note)
    return newest.size, written


def cosign(workspace: Workspace, lines: str, policy: Path | None, folder: Path | None) -> tuple[int, list[str]]:
    """Add what witnesses signed to the checkpoint that was published last, or to the one that `lines` brings with it, and in `folder`.

    Gives its size, and the names of those who cosigned. The witnesses must be known to `policy`. Passports of what is released get this
    checkpoint as soon as it has its quorum, if theirs has none. Raises IntegrityError, WorkspaceError.
    """
    from engine import release

    trust = _trust(workspace, policy or workspace.root / POLICY)
    known = published(workspace)
    note = lines if "\n\n" in lines else known.note if known else ""
    if not note:
        raise WorkspaceError("nothing was published yet: give the whole checkpoint, or run `consentric audit publish`")
    if known and split_note(known.note)[0] == split_note(note)[0]:
        note = known.note  # with whatever others signed of it before
    checkpoint = workspace.believed(note)
    with workspace.store.read() as session:
        audit_log.check_against(session.connection(), checkpoint)
    if known and checkpoint.size < known.size:
        raise WorkspaceError(f"a checkpoint of {known.size} entries was published since this one of {checkpoint.size}")
    full = witness.with_cosignatures(note, lines, trust)
    names = [key.name for key in verifier.signers(full, trust.witnesses, cosigned=True)[1]]
    cosigned = workspace.believed(full)
    due = list(_without_quorum(workspace, cosigned, trust))
    with workspace.store.transaction("cosign") as write:
        write.record("log.cosigned", size=checkpoint.size, witnesses=names, passports=[build.id for build in due])
    _keep(workspace, full)
    for build in due:
        release.passport(workspace, build, cosigned)
    held = None if folder is None else folder / tiles.CHECKPOINT
    if held and held.exists() and split_note(held.read_text(encoding="utf-8"))[0] == split_note(full)[0]:
        tiles.write(held, full.encode())
    return checkpoint.size, names


def prove_entry(workspace: Workspace, index: int, to: Path) -> int:
    """Write a proof that the log holds an entry; gives the size of the log that it is proved of. Logged. Raises Refused."""
    workspace.check_leaving(to)
    roles.look(workspace, "log.proved", Action.READ_LOG, index=index)
    text, size = _entry(workspace, index)
    with whole_file(to.resolve(), "proof") as partial:
        partial.write_text(text, encoding="utf-8")
    return size


def _entry(workspace: Workspace, index: int) -> tuple[str, int]:
    """The proof of an entry, under the checkpoint that was published last where it covers it; and the size of the log then."""
    checkpoint = published(workspace)
    if checkpoint is None or index >= checkpoint.size:
        checkpoint = _newest(workspace)
    if index >= checkpoint.size:
        raise WorkspaceError(f"entry {index} is not there, the log has {checkpoint.size}")
    with workspace.store.read() as session:
        return proof.entry_proof(session.connection(), index, checkpoint), checkpoint.size


def prove_release(workspace: Workspace, segment: str, to: Path) -> int:
    """The same of the entry of a segment's newest release."""
    from engine import release

    build = release.find(workspace, segment, Status.RELEASED)
    return prove_entry(workspace, passports.contents(release.passport(workspace, build).read_bytes())[1].index, to)


def prove_subject(workspace: Workspace, segment: str, subject: str, to: Path) -> str:
    """Write what a build did with a subject as a file that this subject can check and that shows nobody else; gives it in words.

    Logged, without the subject. Raises Refused, and WorkspaceError where no leaf is about them, of whom then nothing can be shown.
    """
    from engine import considered, copies, release

    workspace.check_leaving(to)
    build = release.find(workspace, segment, Status.RELEASED)
    roles.look(workspace, "subject.proved", Action.READ_SUBJECT, build=build.id)
    leaf = considered.opening(copies.folder(workspace, build.id) / considered.CONSIDERED, build.id, subject)
    if leaf is None:
        raise WorkspaceError(
            f"no leaf of build {build.id} is about this subject: they were not considered, or were erased since. No file can prove that, "
            "because it would have to open everybody's leaf; the root in the log proves that nobody can add one now"
        )
    with workspace.store.read() as session:
        index = builds.entry_of(session, build.id)
    raw = proof.opening(leaf.as_data(), _entry(workspace, index)[0])
    try:  # nothing is handed out that its subject could not check
        verifier.verify_opening(raw.encode(), _trust(workspace, None)._replace(quorum=(0, ())))
    except verifier.Broken as error:
        raise IntegrityError(str(error)) from None
    with whole_file(to.resolve(), "opening", private=True) as partial:
        partial.write_text(raw, encoding="utf-8")
    return ("used" if leaf.reason is Reason.ADMITTED else f"left out: {reason_words(leaf.reason)}") + f", in build {build.id}"


def _without_quorum(workspace: Workspace, cosigned: Checkpoint, trust: verifier.Trust) -> Iterator[Build]:
    """Released builds whose passport has no quorum, and could have that of a checkpoint."""
    from engine import copies

    if not _met(cosigned.note, trust) or not Verifier.parse(workspace.keys.verifier_key).signed(cosigned.note):
        return  # a passport and its checkpoint are of one key
    with workspace.store.read() as session:
        found = builds.builds(session, status=Status.RELEASED)
    for build in found:
        path = copies.released(workspace, build.id) / copies.PASSPORT
        held = passports.contents(path.read_bytes())[1] if path.exists() else None
        if held is None or (held.index < cosigned.size and not _met(held.checkpoint, trust)):
            yield build


def _met(note: str, trust: verifier.Trust) -> bool:
    return trust.met(verifier.signers(note, trust.witnesses, cosigned=True)[1])


def _trust(workspace: Workspace, policy: Path | None) -> verifier.Trust:
    """Every key of this log, and the witnesses of a policy: of the one in the workspace, if there is one, where none is named."""
    path = policy or workspace.root / POLICY
    trust = verifier.Trust()
    if policy or path.exists():
        try:
            trust = verifier.parse_policy(path.read_bytes())
        except OSError as error:
            raise WorkspaceError(f"policy `{path}` of witnesses cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise WorkspaceError(f"policy `{path}` of witnesses: {error}") from error
    return trust._replace(logs=tuple(map(verifier.parse_key, workspace.keys.verifier_keys)))


def _newest(workspace: Workspace) -> Checkpoint:
    newest = workspace.checkpoint()
    if newest is None:
        raise WorkspaceError("this workspace has no checkpoint yet")
    return newest


def published(workspace: Workspace) -> Checkpoint | None:
    path = workspace.hidden / PUBLISHED
    return workspace.believed(path.read_text(encoding="utf-8")) if path.exists() else None


def _keep(workspace: Workspace, note: str) -> None:
    with whole_file(workspace.hidden / PUBLISHED, "published") as partial:
        partial.write_text(note, encoding="utf-8")


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
