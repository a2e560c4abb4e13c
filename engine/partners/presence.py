"""What a round did with one subject, for them alone: a leaf of the round's record, opened, and the entry that names its root."""

from __future__ import annotations

from pathlib import Path

from audit import proof
from audit import verify as verifier
from audit.checkpoint import Verifier
from audit.log import Entry
from audit.merkle import IntegrityError
from engine import considered, roles
from engine.files import whole_file
from engine.partners.attendance import named, record_of
from engine.partners.book import ANSWERED
from engine.partners.participation import find
from engine.workspace import Workspace, WorkspaceError, given
from federated import presence
from federated.messages import Step
from governance import entries
from governance.roles import Action


def prove(workspace: Workspace, name: str, round: int, subject: str, to: Path) -> str:
    """Write the file; gives it in words. Logged, without the subject. Raises Refused, and WorkspaceError where there is nothing to open."""
    joined = find(workspace, name)
    workspace.check_leaving(to)
    roles.look(workspace, "subject.proved", Action.READ_SUBJECT, collaboration=name, round=round)
    entry = _vector(workspace, name, round)
    since = entry.parsed["facts"]["considered_since"]
    path = None if joined.build is None else record_of(workspace, joined.build, since)
    if joined.build is None or path is None or not path.exists():
        raise WorkspaceError(f"the record of whom round {round} considered is not here any more: its build is over")
    leaf = considered.opening(path, named(joined.build, since), subject)
    if leaf is None:
        raise WorkspaceError(f"no leaf of round {round} is about this subject: they were not registered then, or were erased since")
    checkpoint = workspace.checkpoint()
    assert checkpoint is not None  # sealed with the look
    with workspace.store.read() as session:
        raw = presence.write(leaf.as_data(), proof.entry_proof(session.connection(), entry.index, checkpoint))
    words = presence.verify(raw, verifier.parse_key(workspace.keys.verifier_key))  # nothing is handed out that its subject could not check
    with whole_file(to.resolve(), "round-opening", private=True) as partial:
        partial.write_bytes(raw)
    return words


def check(file: Path, key: str) -> str:
    """What somebody's file says, by the log's verifier key. Raises IntegrityError, WorkspaceError."""
    try:
        Verifier.parse(key)
        trusted = verifier.parse_key(key)
    except ValueError as error:
        raise WorkspaceError(f"`--key`: {error}") from None
    try:
        return presence.verify(given(file), trusted)
    except IntegrityError as error:
        raise IntegrityError(f"`{file}` {error}") from None


def _vector(workspace: Workspace, name: str, round: int) -> Entry:
    """The entry of what left in a round."""
    holding = entries.pair("collaboration", name), entries.pair("step", Step.VECTOR)
    with workspace.store.read() as session:
        found = entries.find(session.connection(), ANSWERED, holding=holding)
    left = {entry.parsed["facts"]["round"]: entry for entry in found if "consent_root" in entry.parsed["facts"]}
    if round not in left:
        raise WorkspaceError(f"`--round`: got {round}, expected one in which a vector left: {sorted(left)}")
    return left[round]
