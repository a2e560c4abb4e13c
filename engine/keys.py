"""Keys and schema on the command line: which keys there are, their rotation, backup and return, and the way to a newer schema."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from audit.merkle import IntegrityError
from engine import copies, roles
from engine.files import whole_file
from engine.gates import gate
from engine.workspace import Workspace, WorkspaceError
from governance import builds, exports, rotation
from governance.builds import Status
from governance.databases import file_of
from governance.keys import LOG, NEXT, OLD, PSEUDONYM, Key, KeyFault, fingerprint
from governance.pseudonyms import purposes
from governance.roles import Action
from governance.store import StoreError
from governance.suppression import SuppressionError
from policies.decisions import Deny


@dataclass(frozen=True, slots=True)
class Restored:
    """`back`: files that were missing and are there again; `rotated`: keys of the backup that were rotated since, and stay away."""

    back: tuple[str, ...]
    rotated: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Migrated:
    """`before`: the schema that the database had; `copy`: the database as it was, None where none was made."""

    before: str
    copy: Path | None


def listed(workspace: Workspace) -> list[Key]:
    """Every key that the workspace has or should have. Raises KeyFault."""
    with workspace.store.read() as session:
        made = [PSEUDONYM + purpose for purpose in purposes(session)]
    return [workspace.keys.key(name) for name in dict.fromkeys((*workspace.keys.names(), *made))]


def rotate(workspace: Workspace, name: str) -> str:
    """Exchange a key in a workspace that was opened alone; gives the new one's fingerprint.

    Raises WorkspaceError where lists with a purpose's pseudonyms are about, KeyFault.
    """
    if name.startswith(PSEUDONYM):
        _unused(workspace, name.removeprefix(PSEUDONYM))
    if name == LOG:
        rotation.prepare_log(workspace.store, workspace.keys)
        workspace.sign_anew()
    return rotation.rotate(workspace.store, workspace.keys, name)


def retire(workspace: Workspace) -> str:
    """End the overlap after a rotation of the log's key, in a workspace that was opened alone; gives the old one's fingerprint."""
    return rotation.retire(workspace.store, workspace.keys)


def backup(workspace: Workspace, target: Path, passphrase: str) -> tuple[str, ...]:
    """Write every key that is a file to `target`; gives their places. Raises BackupError, KeyFault, WorkspaceError."""
    from governance.key_backup import close

    if target.exists():
        raise WorkspaceError(f"`{target}` exists already; a backup of keys replaces no file")
    files = workspace.keys.files()
    raw = close(files, passphrase)
    with workspace.store.transaction("key") as write:
        write.record("keys.backed_up", keys=sorted(files))
    with whole_file(target, "key-backup", private=True) as partial:
        partial.write_bytes(raw)
    return tuple(sorted(files))


def restore(where: Path | None, source: Path, ask: Callable[[], str]) -> Restored:
    """Put missing keys back from a backup. One that was rotated since the backup stays away: what it made is gone for good.

    `ask` gives the passphrase, once it is clear that whoever is there may do this.
    Raises BackupError, KeyFault where another key is there, Refused, and what opening raises.
    """
    from governance.key_backup import open_backup

    workspace = Workspace.find(where)
    _refuse(workspace, Action.MANAGE_KEYS)
    try:
        files = open_backup(source.read_bytes(), ask())
    except OSError as error:
        raise WorkspaceError(f"`{source}` cannot be read: {error.strerror}") from error
    own = ("log.vkey", f"{LOG}.key", NEXT, OLD)  # without them nothing can be opened
    since = {place for place in own if place in files and workspace.keys.superseded(place, files[place])}
    back = [place for place in own if place in files and place not in since and workspace.keys.put(place, files[place])]
    workspace.open(alone=True, behind=True)
    rotated = _rotated(workspace, files)
    back += [place for place, content in files.items() if place not in (*own, *rotated) and workspace.keys.put(place, content)]
    with workspace.store.transaction("key") as write:
        write.record("keys.restored", keys=sorted(back), rotated=sorted(rotated))
    return Restored(tuple(sorted(back)), tuple(sorted(rotated)))


def migrate(where: Path | None) -> Migrated:
    """Bring the database to this version's schema; on SQLite a copy of it as it was is kept until the next one, or an erasure.

    Raises Refused, SchemaError for a newer one, and what opening raises.
    """
    workspace = Workspace.find(where)
    _refuse(workspace, Action.MAINTAIN)
    workspace.open(alone=True, behind=True, older=True)
    database = file_of(workspace.settings.database_url)
    copy = None
    if database is not None and not workspace.store.current:
        copy = workspace.hidden / copies.BEFORE_MIGRATION
        with whole_file(copy, "migration-copy", private=True) as partial, _sqlite(database) as old, _sqlite(partial) as new:
            old.backup(new)
    before = workspace.store.migrate()
    roles.authorise(workspace, Action.MAINTAIN)
    return Migrated(before, copy)


def _refuse(workspace: Workspace, action: Action) -> None:
    """Raises Refused for whoever may not; it is in the log then, unless there is none yet that can be written."""
    decision = roles.decide(workspace, action)
    if isinstance(decision, Deny):
        with suppress(KeyFault, StoreError, SuppressionError, IntegrityError, WorkspaceError):
            roles.authorise(workspace.open(behind=True), action)
    gate(decision)


def _unused(workspace: Workspace, purpose: str) -> None:
    """Nobody holds a list with pseudonyms of a purpose: under another key nobody could be found in it again."""
    with workspace.store.read() as session:
        mine = {build.id: build for build in builds.builds(session) if build.purpose == purpose}
        handed = {export.id for export in exports.exports(session) if export.build in mine}
        waiting = [notice for notice in exports.notices(session, waiting=True) if notice.export in handed]
    released = sorted({build.segment for build in mine.values() if build.status is Status.RELEASED})
    if released:
        raise WorkspaceError(f"{released} are released under this key, so that nobody could be found in them again; recall them first")
    if waiting or any(copies.export_list(workspace, export).exists() for export in handed):
        raise WorkspaceError("recipients still know people by this key; have their recall notices acknowledged first")


def _rotated(workspace: Workspace, files: Mapping[str, bytes]) -> list[str]:
    """Keys of a backup that are not those which the log names."""
    with workspace.store.read() as session:
        known = {place: rotation.recorded(session, place.removesuffix(".key")) for place in files if place.endswith(".key")}
    return [place for place, expected in known.items() if expected and place != f"{LOG}.key" and fingerprint(files[place]) != expected]


def _sqlite(file: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(file))
