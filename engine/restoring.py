"""After an old backup was put back: what was spent since counts again, and whoever was erased or objected since is out again.

What was promised last stands outside (`governance.outside`, `governance.suppression`); until the database has caught up with it,
nothing that spends, reads people or releases goes on. Where the folder outside itself is lost, an officer begins another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from audit.checkpoint import Checkpoint
from engine import copies, sweep
from engine.admitting import resources
from engine.prepared import contracts
from engine.rights import erase
from engine.workspace import Workspace
from governance import budget, builds, consent, exports, rights
from governance.outside import Newest, check_key, pin
from governance.sources import SourceError
from governance.subject_rows import subject_keys
from governance.suppression import ANEW, Kind, SuppressionError
from governance.traces import Trace

STEPS = 3
"""Steps that a replay reports."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What was put right after an old backup: spent budget carried over, objections written down again, subjects erased again."""

    carried: int
    objections: int
    erased: int
    left: tuple[Trace, ...]


def replay(workspace: Workspace, progress: Callable[[str], None] = lambda _step: None) -> Replayed:
    """Bring a database that an old backup was put back into to what was promised last. For a workspace opened alone.

    What was spent counts again, whoever was erased or objected since is erased or objects again, and from then on the log of this
    database is the one that counts; it says which other was lost. A crash anywhere leaves it behind as it was, to be done again.
    Files of builds that the database does not know any more are deleted. Raises SuppressionError where nothing is left outside.
    """
    newest = workspace.outside.newest()
    with workspace.store.read() as session:
        check_key(session, workspace.suppression)
    if newest.checkpoint is None:
        raise SuppressionError(f"`{workspace.suppression.folder}` holds no promise", ANEW)
    with workspace.outside.catching_up():
        replayed = _replay(workspace, newest, newest.checkpoint, progress)
    with workspace.store.read() as session:
        workspace.outside.begin_epoch(session, newest.accounts)
    sweep.sweep(workspace)
    return replayed


def _replay(workspace: Workspace, newest: Newest, lost: Checkpoint, progress: Callable[[str], None]) -> Replayed:
    progress("budget")
    with workspace.store.transaction("replay") as write:
        write.record("restore.intended", size=lost.size, root=lost.root.hex())
        for build in builds.builds(write.session, status=builds.Status.BUILDING):
            builds.fail(write, build.id, "restored")
        budget.close_open(write)
        carried = sum(budget.carry(write, account) for account in newest.accounts.values())
    progress("objections")
    copies.clear_unknown(workspace)
    known = _everybody(workspace)
    with workspace.store.transaction("replay-objections") as write:
        objections = rights.refile(write, workspace.suppression, known)
        write.record("restore.objections")
    progress("erasures")
    again = _back(workspace)
    left = tuple(trace for subject in again for trace in erase(workspace, subject).left)
    with workspace.store.transaction("replayed") as write:
        write.record("restore.finished", carried=carried)
    return Replayed(carried, objections, len(again), left)


def begin_anew(workspace: Workspace) -> None:
    """Make the folder outside where it is lost, as on a new machine, or take the one that is there; an officer answers for what the
    old one knew. One that holds a promise still has to be caught up with. Raises SuppressionError where nothing is lost."""
    there = workspace.suppression.exists and workspace.outside.newest().checkpoint is not None
    if there and _known(workspace):
        raise SuppressionError(f"`{workspace.suppression.folder}` is there", "leave out `--anew`")
    workspace.suppression.create()
    with workspace.store.transaction("outside-anew") as write:
        write.record("outside.begun_anew", outside=pin(write, workspace.suppression))
    if not there:
        with workspace.store.read() as session:
            workspace.outside.begin_epoch(session, budget.cap_accounts(session))


def _known(workspace: Workspace) -> bool:
    """Whether the key outside is the one that was written down."""
    try:
        with workspace.store.read() as session:
            check_key(session, workspace.suppression)
    except SuppressionError:
        return False
    return True


def _everybody(workspace: Workspace) -> set[str]:
    """Every key that is known here: in the ledger, in files, and in source tables, so far as they can be read."""
    with workspace.store.read() as session:
        known = set(rights.known_subjects(session))
    for copy in copies.copies(workspace):
        if copy.kind in _NAMING:
            known.update(copies.subjects_in(copy.path).to_pylist())
    for contract in contracts(workspace):
        try:
            known.update(subject_keys(contract, workspace.source, resources(workspace)))
        except SourceError:  # it is then of no use to a build either
            continue
    return known


def _back(workspace: Workspace) -> list[str]:
    """Erased subjects of whom something from before their erasure is here again. Who began anew since is left alone."""
    found = set()
    with workspace.store.read() as session:
        made = {str(build.id): build.created for build in builds.builds(session)}
        made |= {str(export.id): export.created for export in exports.exports(session)}
        for subject, entries in workspace.suppression.among(rights.known_subjects(session)).items():
            last = max((entry.at for entry in entries if entry.kind is Kind.ERASED), default=None)
            if last and any(each.received_time <= last for each in consent.history(session, subject)):
                found.add(subject)
    for copy in copies.copies(workspace):
        if copy.kind in _NAMING:
            for subject, entries in workspace.suppression.among(copies.subjects_in(copy.path).to_pylist()).items():
                if any(entry.kind is Kind.ERASED and made[copy.of] <= entry.at for entry in entries):
                    found.add(subject)
    return sorted(found)


_NAMING = (copies.Kind.MEMBERSHIP, copies.Kind.CONSIDERED, copies.Kind.ROUND, copies.Kind.EXPORT)
"""Files that name subjects by their keys."""
