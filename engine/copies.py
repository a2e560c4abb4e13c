"""Every file of a workspace that holds people, in one place, and how somebody gets out of all of them.

    builds/ID/membership.parquet    subject, segment
    builds/ID/considered.parquet    subject, reason, trained, salt, leaf (`engine.considered`)
    rounds/ID/considered-*.parquet  the same, of rounds with partners (`engine.partners.attendance`)
    releases/ID/membership.*        pseudonym under the purpose's key, segment
    exports/ID.parquet              subject: who was in a list that was handed over
    notices/ID.json                 pseudonyms whose deletion a recipient was or will be asked for
    faults.log                      what a fault said, to the owner alone
    before-migration.db             the database as it was

A file is read and rewritten while its draft is held, so that two who take people out at once both succeed, and the new one is on
the disk before it replaces the old. Not here: who must go (`engine.sweep`), the database, and the consent snapshot, which is made
anew from it (`governance.consent_snapshot`).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from engine import considered
from engine.answers import answers_of
from engine.considered import CONSIDERED
from engine.files import abandoned, delete, draft_file, place_file, read_parquet
from engine.workspace import Workspace, WorkspaceError
from governance import builds, exports
from governance.builds import LIVE, BuildId
from governance.exports import Export, ExportId, NoticeId
from governance.pseudonyms import pseudonyms, purpose_key
from policies.documents import parse_duration

MEMBERSHIP = "membership.parquet"
"""In a build's folder. Never leaves as it is."""

PASSPORT = "passport.json"
"""In a release's folder, and about nobody."""

ROUNDS = "rounds"
"""Folder of the folders of rounds."""

FAULTS = "faults.log"

BEFORE_MIGRATION = "before-migration.db"
"""The database as it was before its newest migration."""


class Kind(StrEnum):
    """What a file holds of people."""

    MEMBERSHIP = "membership"
    CONSIDERED = "considered"
    ROUND = "round"
    RELEASE = "release"
    EXPORT = "export"
    NOTICE = "notice"


@dataclass(frozen=True, slots=True)
class Copy:
    """One file. `of`: the build, export or notice that it belongs to."""

    path: Path
    kind: Kind
    of: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """What `drop` did: how many files were rewritten, and the notices that name somebody who was dropped, to be handed over."""

    files: int
    notices: tuple[NoticeId, ...]


def folder(workspace: Workspace, build: BuildId) -> Path:
    """Where a build's membership is kept, out of everybody's reach."""
    return workspace.hidden / "builds" / build


def rounds_of(workspace: Workspace, build: BuildId) -> Path:
    """Where records are of whom rounds with partners considered."""
    return workspace.hidden / ROUNDS / build


def released(workspace: Workspace, build: BuildId) -> Path:
    """Where a release's files are kept."""
    return workspace.hidden / "releases" / build


def export_list(workspace: Workspace, export: ExportId) -> Path:
    """Who was in an export."""
    return workspace.hidden / "exports" / f"{export}.parquet"


def notice_file(workspace: Workspace, notice: NoticeId) -> Path:
    """Whom a notice names: the very file that its recipient gets."""
    return workspace.hidden / "notices" / f"{notice}.json"


def copies(workspace: Workspace) -> Iterator[Copy]:
    """Every whole file that holds people."""
    for pattern, kind in _PLACES:
        for path in sorted(workspace.hidden.glob(pattern)):
            if not path.name.startswith(".") and not path.parent.name.endswith(".partial"):
                yield Copy(path, kind, path.parent.name if kind in _FOLDERS else path.stem)


def drop(workspace: Workspace, subjects: Collection[str]) -> Dropped:
    """Take `subjects` out of every file; durable on return. For erasure, and done again after a crash it does the rest. Files of
    what the database does not know are deleted.

    Whoever was in an export is named by a notice, and models that they trained are marked. Their consent must be gone already,
    so that nothing that is written meanwhile holds them again. Raises KeyFault where pseudonyms cannot be told.
    """
    gone = pa.array(sorted(subjects), pa.string())
    abandoned(workspace.hidden, clear=True)
    delete(workspace.hidden / BEFORE_MIGRATION, "migration-copy")
    delete(workspace.hidden / FAULTS, "faults")  # a traceback may show anybody
    clear_unknown(workspace)
    found = list(copies(workspace))
    mark_models(workspace, {copy.of: gone for copy in found if copy.kind is Kind.CONSIDERED})
    notices = []
    for export in _exported(workspace):
        if notice := recall(workspace, export, gone):
            notices.append(notice)
    files = sum(_without(workspace, copy, gone) for copy in found if copy.kind in _FOLDERS)
    notices += [n for n in _naming(workspace, gone) if n not in notices]
    return Dropped(files + len(notices), tuple(notices))


def clear_unknown(workspace: Workspace) -> None:
    """Delete files of builds, exports and notices that the database does not know, as where an older one was put back."""
    found = list(copies(workspace))
    with workspace.store.read() as session:
        known = {str(build.id) for build in builds.builds(session)} | {str(export.id) for export in exports.exports(session)}
        known |= {str(notice.id) for notice in exports.notices(session)}
    for path in {copy.path.parent if copy.kind in _FOLDERS else copy.path for copy in found if copy.of not in known}:
        delete(path, "unknown")


def leave(workspace: Workspace, build: BuildId, gone: pa.Array) -> bool:
    """Take `gone` out of a build's membership and release; whether anybody was in them. The record of who was considered stays."""
    return sum(_without(workspace, copy, gone) for copy in lists(workspace, build)) > 0


def lists(workspace: Workspace, build: BuildId) -> list[Copy]:
    """Files of a build that say who is in it."""
    return [copy for copy in copies(workspace) if copy.of == build and copy.kind in (Kind.MEMBERSHIP, Kind.RELEASE)]


def unlist(workspace: Workspace, build: BuildId) -> tuple[NoticeId, ...]:
    """Delete a build's lists; what was handed over of it is recalled first. Passport and who was considered stay."""
    with workspace.store.read() as session:
        handed = exports.exports(session, build)
    notices = [recall(workspace, export) for export in handed]
    for copy in lists(workspace, build):
        delete(copy.path, "list")
    return tuple(notice for notice in notices if notice)


def clear(workspace: Workspace, build: BuildId) -> tuple[NoticeId, ...]:
    """Delete all that is kept of a build that is over; what was handed over of it is recalled first."""
    notices = unlist(workspace, build)
    for path in (released(workspace, build), folder(workspace, build), rounds_of(workspace, build), answers_of(workspace, build)):
        delete(path, "over")
    return notices


def recall(workspace: Workspace, export: Export, gone: pa.Array | None = None) -> NoticeId | None:
    """Open a notice for those of `gone` (None: everybody) who were in an export, and take them off its list; None if nobody was.

    The notice is whole before anybody leaves the list: a crash between makes two of one, and never none.
    """
    path = export_list(workspace, export.id)
    listed = subjects_in(path)
    leaving = listed if gone is None else listed.filter(pc.is_in(listed, gone))
    if not len(leaving):
        return None
    notice = exports.new_notice()
    with workspace.store.read() as session:
        build = builds.find_build(session, export.build)
        assert build is not None  # builds are never deleted
        names = sorted(pseudonyms(leaving, purpose_key(session, workspace.keys, build.purpose)).to_pylist())
    target = notice_file(workspace, notice)
    target.parent.mkdir(exist_ok=True, mode=0o700)
    with draft_file(target, private=True) as partial:
        partial.write_text(json.dumps(_request(notice, export, build.segment, gone is None, names), indent=1, ensure_ascii=False))
        with workspace.store.transaction("notice") as write:
            exports.open_notice(write, notice, export, gone is None)
            place_file(partial, target, "notice-file")
    if gone is None:
        delete(path, "export-list")
    else:
        _rewrite(path, lambda table: _other(table, "subject", leaving))
    return notice


def mark_models(workspace: Workspace, left: dict[str, pa.Array]) -> None:
    """Mark each build, of those whose model is still in use, that was trained on somebody of `left`, by build."""
    from engine import reports  # with all that a page is made of, which whoever looks for a file does not need

    with workspace.store.read() as session:
        live = [build for status in LIVE for build in builds.builds(session, status=status)]
    for build in live:
        if build.retrain_by is None and build.id in left and _trained(workspace, build.id, left[build.id]):
            with workspace.store.transaction("retrain") as write:
                builds.must_retrain(write, build.id, parse_duration(build.facts["retention"]["retrain"]))
            reports.refresh(workspace, build)


def subjects_in(path: Path, only: str | None = None) -> pa.Array:
    """Who is in a file; nobody where it is gone. `only`: those of whom this column is true. Raises WorkspaceError where it is damaged."""
    try:
        with _whole(path):
            table = read_parquet(path, ["subject", *([only] if only else [])])
    except FileNotFoundError:
        return pa.array([], pa.string())
    return (table.filter(table[only]) if only else table)["subject"].drop_null().combine_chunks()


def write_list(table: pa.Table, path: Path, suffix: str | None = None) -> None:
    """Pseudonyms and segments, as Parquet or CSV."""
    if (suffix or path.suffix) == ".parquet":
        pq.write_table(table, path)
        return
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table.column_names)
        writer.writerows(zip(*(column.to_pylist() for column in table.columns), strict=True))


_PLACES = (
    ("builds/*/membership.parquet", Kind.MEMBERSHIP),
    (f"builds/*/{CONSIDERED}", Kind.CONSIDERED),
    (f"{ROUNDS}/*/considered-*.parquet", Kind.ROUND),
    ("releases/*/membership.*", Kind.RELEASE),
    ("exports/*.parquet", Kind.EXPORT),
    ("notices/*.json", Kind.NOTICE),
)
_FOLDERS = (Kind.MEMBERSHIP, Kind.CONSIDERED, Kind.ROUND, Kind.RELEASE)


def _without(workspace: Workspace, copy: Copy, gone: pa.Array) -> bool:
    """Rewrite one file without `gone`; whether anybody of them was in it."""
    match copy.kind:
        case Kind.CONSIDERED | Kind.ROUND:
            return _rewrite(copy.path, lambda table: considered.blanked(table, gone) if _any(table["subject"], gone) else None)
        case Kind.RELEASE:
            names = _names(workspace, BuildId(copy.of), gone)
            return _rewrite(copy.path, lambda table: _other(table, "pseudonym", names))
        case _:
            return _rewrite(copy.path, lambda table: _other(table, "subject", gone))


def _rewrite(path: Path, change: Callable[[pa.Table], pa.Table | None]) -> bool:
    """Replace a file by what `change` makes of it, None: nothing to change; whether it was replaced. One that is gone stays gone."""
    try:
        with draft_file(path, private=True) as partial:
            with _whole(path):
                changed = change(_read(path))
            if changed is not None:
                write_list(changed, partial, path.suffix)
                place_file(partial, path, "copy")
            return changed is not None
    except FileNotFoundError:
        return False


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """A file that is not what was written is told by its name alone."""
    try:
        yield
    except (pa.ArrowInvalid, KeyError):
        raise WorkspaceError(f"`{path}` is damaged; recall or reject its build, or restore the file from a backup") from None


def _read(path: Path) -> pa.Table:
    if path.suffix == ".parquet":
        return read_parquet(path)
    texts = arrow_csv.ConvertOptions(column_types={"pseudonym": pa.string(), "segment": pa.string()}, strings_can_be_null=False)
    return arrow_csv.read_csv(path, convert_options=texts)


def _other(table: pa.Table, column: str, gone: pa.Array) -> pa.Table | None:
    """The rows of others; None if all are."""
    kept = table.filter(pc.invert(pc.is_in(table[column], gone)))
    return None if kept.num_rows == table.num_rows else kept


def _any(column: pa.ChunkedArray, gone: pa.Array) -> bool:
    return bool(pc.any(pc.is_in(column, gone)).as_py())


def _names(workspace: Workspace, build: BuildId, subjects: pa.Array) -> pa.Array:
    """Pseudonyms in lists of a build's purpose."""
    with workspace.store.read() as session:
        found = builds.find_build(session, build)
        assert found is not None  # only builds have releases and exports
        return pseudonyms(subjects, purpose_key(session, workspace.keys, found.purpose))


def _exported(workspace: Workspace) -> tuple[Export, ...]:
    with workspace.store.read() as session:
        return tuple(each for each in exports.exports(session) if export_list(workspace, each.id).exists())


def _naming(workspace: Workspace, gone: pa.Array) -> Iterator[NoticeId]:
    """Notices that ask for the deletion of one of `gone`."""
    with workspace.store.read() as session:
        of = {export.id: export.build for export in exports.exports(session)}
        waiting = exports.notices(session, waiting=True)
    for notice in waiting:
        path = notice_file(workspace, notice.id)
        if path.exists() and not set(json.loads(path.read_text())["delete"]).isdisjoint(
            _names(workspace, of[notice.export], gone).to_pylist()
        ):
            yield notice.id


def _trained(workspace: Workspace, build: BuildId, gone: pa.Array) -> bool:
    trained = subjects_in(folder(workspace, build) / CONSIDERED, "trained")
    return _any(trained, gone)


def _request(notice: NoticeId, export: Export, segment: str, whole: bool, names: list[str]) -> dict[str, object]:
    """What a recipient is asked, as JSON."""
    return {
        "notice": notice,
        "export": export.id,
        "destination": export.destination,
        "segment": segment,
        "handed_over": export.created.date().isoformat(),
        "whole": whole,
        "please": "delete these pseudonyms from this list and from everything that was made from it, and say when it is done",
        "delete": names,
    }
