"""What somebody may ask for besides an answer: to be erased (GDPR art. 17) or left alone (art. 21).

An erasure happens in this order, so that whatever a crash leaves is found by the next command and finished: (1) the intent, with
the subject, (2) the list outside the workspace, with the objections that stand, (3) consent events become tombstones, (4) the consent
snapshot goes, (5) every file of people is rewritten, notices are opened and models marked, (6) notices leave the workspace, (7) the
intent forgets its subject, (8) free pages and the journal are overwritten, (9) every byte and row is looked at. Each step may be
done again. It needs the workspace for itself: a build that runs would write what it read before.

Not here: the answer itself (`engine.access`), and what a restored backup needs (`engine.restoring`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sqlmodel import select

from audit.failpoint import reach
from engine import copies, recalls, release, reports, sweep
from engine.admitting import resources
from engine.identities import together
from engine.prepared import contracts
from engine.sweep import Swept
from engine.workspace import Workspace, WorkspaceError
from governance import builds, consent, consent_snapshot, erasures, rights, traces
from governance.consent import ConsentEvent, Status
from governance.erasures import Erasure
from governance.exports import NoticeId
from governance.identity import identities, links
from governance.key_files import make_folder
from governance.keys import LOG, PSEUDONYM
from governance.sources import SourceError
from governance.subject_rows import subject_rows
from governance.suppression import Kind
from governance.tables import PurposeKeyRow
from governance.traces import Trace

STEPS = 6
"""Steps that an erasure reports."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A notice that asks a recipient to delete the subject, and where it lies until that is acknowledged."""

    notice: NoticeId
    destination: str
    file: str
    state: str


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure did, or would do. `sources`: tables that still hold the subject, out of our reach; `left`: what is still here
    and should not be; `mentions`: builds whose comments have a key that is too short to be told from a word."""

    events: int
    files: int
    retrain: tuple[str, ...]
    sent: tuple[Sent, ...]
    sources: tuple[str, ...]
    mentions: tuple[str, ...]
    left: tuple[Trace, ...]
    short: bool


def erase(workspace: Workspace, subject: str, to: Path | None = None, progress: Callable[[str], None] = lambda _step: None) -> Erased:
    """Erase a subject, and every key that was merged with it; what is left is in the answer. For a workspace opened alone.

    `to`: a folder for the notices that recipients are to get, by default `outbox`.

    Raises WorkspaceError before anything is done, for an empty key or a folder that cannot be. Raises SuppressionError, StoreError,
    KeyFault; and then the same once more, or the next command, does the rest.
    """
    check_key(subject)
    if to is not None:
        workspace.check_leaving(to)
        make_folder(to)
    contracts(workspace)  # one that cannot be read would be found at the end
    with workspace.store.read() as session:
        keys = sorted(identities(links(session)).together(subject))
    progress("list outside")
    with workspace.store.transaction("erase-intent") as write:
        begun = [erasures.begin(write, key) for key in keys]
    done = _rewrite(workspace, begun, to or outbox(workspace), progress)
    progress("look for what is left")
    sources = tuple(dict.fromkeys(place for key in keys for place in sources_with(workspace, key)))
    with workspace.store.read() as session:
        mentions = tuple(dict.fromkeys(build for key in keys for build in rights.mentions(session, key)))
    left = tuple(trace for key in keys for trace in left_of(workspace, key))
    _finish(workspace, begun, clean=not left)
    return replace(done, sources=sources, mentions=mentions, left=left, short=any(len(key) < rights.LONG for key in keys))


def outbox(workspace: Workspace) -> Path:
    """Where notices of an erasure wait: outside the workspace, which may not name the subject any more."""
    return workspace.suppression.folder / recalls.OUTBOX


def resume(workspace: Workspace) -> int:
    """Finish erasures that a crash cut short, where nobody else is at work; gives how many. Nobody can look for what is left of a
    subject whom the database does not name any more: for that, erase it once more."""
    with workspace.store.read() as session:
        begun = erasures.unfinished(session)
    if not begun:
        return 0
    with workspace.alone() as alone:
        if not alone:
            return 0
        _rewrite(workspace, [each for each in begun if each.subject], outbox(workspace), lambda _step: None)
        _finish(workspace, begun, clean=None)
    return len(begun)


def check_key(subject: str) -> None:
    """Raises WorkspaceError for no key: what was erased has none."""
    if not subject:
        raise WorkspaceError("got an empty subject key, expected one as in the data")


def _suppress(workspace: Workspace, begun: Iterable[Erasure]) -> None:
    """Step 2: whoever is to be erased is on the list outside, with the objections that stand."""
    for each in begun:
        with workspace.store.read() as session:
            objections = list(rights.standing(session, each.subject))
        for entry in objections:
            workspace.suppression.add(each.subject, entry.kind, entry.at, entry.purpose)
        workspace.suppression.add(each.subject, Kind.ERASED, each.begun)


def _rewrite(workspace: Workspace, begun: Sequence[Erasure], to: Path, progress: Callable[[str], None]) -> Erased:
    """Steps 2 to 8."""
    _suppress(workspace, begun)
    keys = [each.subject for each in begun]
    progress("consent")
    with workspace.store.read() as session:
        events = sum(len(consent.history(session, key)) for key in keys)
        said = {build for key in keys for build in rights.mentions(session, key)}
    with workspace.store.transaction("erase-consent") as write:
        for each in begun:
            rights.bury(write, each, [each.subject])
    progress("files")
    consent_snapshot.discard(workspace.store, workspace.hidden)
    reach("erase:before-files")
    marked = _marked(workspace)
    dropped = copies.drop(workspace, keys)
    retrain = tuple(sorted(_marked(workspace) - marked))
    for build in sorted(said):
        reports.refresh(workspace, release.find(workspace, build))
    reach("erase:after-files")
    progress("notices")
    sent = _send(workspace, dropped.notices, to)
    with workspace.store.transaction("erase-rewritten") as write:
        for each in begun:
            erasures.forget_name(write, each)
    progress("free pages")
    workspace.store.shred()
    reach("erase:after-shred")
    return Erased(events, dropped.files, retrain, sent, (), (), (), False)


def _finish(workspace: Workspace, begun: Iterable[Erasure], clean: bool | None) -> None:
    with workspace.store.transaction("erase-finished") as write:
        for each in begun:
            erasures.finish(write, each, clean)


def preview(workspace: Workspace, subject: str) -> Erased:
    """What an erasure would find; nothing is changed. Raises WorkspaceError for an empty key."""
    check_key(subject)
    with workspace.store.read() as session:
        keys = sorted(identities(links(session)).together(subject))
        events = sum(len(consent.history(session, key)) for key in keys)
        mentions = tuple(dict.fromkeys(build for key in keys for build in rights.mentions(session, key)))
    left = tuple(trace for key in keys for trace in left_of(workspace, key))
    sources = tuple(dict.fromkeys(place for key in keys for place in sources_with(workspace, key)))
    return Erased(
        events, len({trace.place for trace in left}), (), (), sources, mentions, left, any(len(key) < rights.LONG for key in keys)
    )


def left_of(workspace: Workspace, subject: str) -> Iterator[Trace]:
    """Every place of the workspace that holds the subject's key or a digest of it, but the source data that contracts name."""
    look_for = traces.needles(subject, _secrets(workspace))
    named = [workspace.source(table.source) for contract in contracts(workspace) for table in contract.tables.values()]
    skip = [source for source in named if isinstance(source, Path)]
    with workspace.store.read() as session:
        connection = session.connection()
        others = traces.resembling(connection, workspace.root, subject)
        found = list(traces.in_rows(connection, look_for))
    yield from found
    yield from traces.in_files(workspace.root, look_for, others, skip)


def sources_with(workspace: Workspace, subject: str) -> Iterator[str]:
    """Source tables that hold rows of the subject: out of our reach, for whoever keeps them to erase."""
    for contract in contracts(workspace):
        try:
            for table, rows in subject_rows(contract, subject, workspace.source, resources(workspace)).items():
                if rows.num_rows:
                    yield f"{contract.name}.{table} ({contract.tables[table].source})"
        except SourceError as error:
            yield f"{contract.name}, of which nothing can be told: {error}"


def object_to(workspace: Workspace, subject: str, purpose: str) -> Swept:
    """Write an objection down (art. 21): in the ledger, where it counts at once; on the list outside, so that no backup undoes it; then
    the sweep. After a crash in between, once more does the rest.

    Raises EventError for a purpose that is none.
    """
    with workspace.store.read() as session:
        now = consent.judged_at(session, workspace.store.clock())
    event = ConsentEvent(subject, purpose, Status.OBJECTED, now, method="command line")
    with workspace.store.transaction("objection") as write:
        consent.append(write, [event])
        write.record("objection.recorded")
        write.keep_outside()
    workspace.suppression.add(subject, Kind.OBJECTED, now, purpose)
    return sweep.sweep(workspace, together(workspace, subject))


def _secrets(workspace: Workspace) -> dict[str, bytes]:
    """Every key under which something of a subject may be kept here, by name."""
    with workspace.store.read() as session:
        purposes = [PSEUDONYM + purpose for purpose in session.exec(select(PurposeKeyRow.purpose))]
    names = dict.fromkeys([*workspace.keys.names(), *purposes])
    return {name: workspace.keys.secret(name) for name in names if name != LOG}


def _marked(workspace: Workspace) -> set[str]:
    """Builds whose models must be trained anew."""
    with workspace.store.read() as session:
        return {build.id for build in builds.builds(session) if build.retrain_by is not None}


def _send(workspace: Workspace, notices: Collection[NoticeId], to: Path) -> tuple[Sent, ...]:
    """Let notices leave the workspace: each must name whom its recipient knows, and nothing here may."""
    if not notices:
        return ()
    make_folder(to)
    written = {file.stem.rpartition("-")[2]: file for file in recalls.hand_over(workspace, to, notices, keep=False)}
    waiting = [each for each in recalls.pending(workspace) if each.notice.id in notices]
    return tuple(Sent(w.notice.id, w.export.destination, str(written.get(w.notice.id, to)), w.notice.state.value) for w in waiting)
