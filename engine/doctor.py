"""What `consentric doctor` checks, each with a remedy: keys, modes, databases, checkpoint, leftovers, reservations, versions."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from audit import log as audit_log
from audit.merkle import IntegrityError
from engine import answers, copies, release, roles
from engine.files import PARTIAL, abandoned, delete
from engine.gates import Exit
from engine.partners.places import SECRET, folder
from engine.workspace import Workspace
from governance import budget, builds, migrations, partnerships, rotation
from governance.builds import Status
from governance.databases import file_of
from governance.outside import BehindError, check_key
from governance.pseudonyms import key_faults
from governance.remote_tables import reach
from governance.roles import Action
from governance.store import SchemaError, StoreError
from governance.suppression import SuppressionError

TESTED = {"duckdb": "2.0", "sqlglot": "30.30", "opendp": "0.16", "scikit-learn": "1.7"}
"""Versions whose behaviour the engine leans on (FINDINGS of the project); others may work and were not tried."""


REACHED, SCHEMA = "database", "schema"
KEPT = "kept outside"
NEEDED = frozenset({REACHED, SCHEMA})
"""Checks without which the database cannot be looked into."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `code`: the exit code if it is not well."""

    name: str
    ok: bool
    detail: str
    remedy: str | None = None
    code: Exit = Exit.MACHINE


def examine(where: Path | None, repair: bool) -> list[Check]:
    """Every check; with `repair`, leftovers of crashes are cleared and reservations without a draw given back."""
    workspace = Workspace.find(where)
    checks = [*_keys(workspace), _modes(workspace)]
    if not all(check.ok for check in checks):  # without its keys nothing else of a workspace can be looked at
        return checks
    checks += _database(workspace)
    if not all(check.ok for check in checks if check.name in NEEDED):
        return checks
    checks += (outside := _outside(workspace))
    if not all(check.ok for check in outside):
        return checks
    try:
        roles.authorise(workspace.open(alone=repair), Action.MAINTAIN if repair else Action.EXAMINE)
    except IntegrityError as error:
        return [*checks, Check("log", False, str(error), "run `consentric audit verify`; keep the files as they are", Exit.INTEGRITY)]
    checks += [
        _rotations(workspace, repair),
        *_purpose_keys(workspace),
        _checkpoint(workspace),
        *_stranded(workspace, repair),
        _leftovers(workspace, repair),
        _passports(workspace, repair),
        _overdue(workspace),
    ]
    return [*checks, *_connections(workspace), *_versions()]


def _keys(workspace: Workspace) -> list[Check]:
    faults = workspace.keys.faults()
    variables = [variable for name in workspace.keys.names() if (variable := workspace.keys.variable(name))]
    sources = f"from the environment: {', '.join(variables)}; the others from files" if variables else "from files"
    return [Check("keys", False, str(fault), fault.remedy) for fault in faults] or [
        Check("keys", True, f"all readable, by their owner alone; {sources}")
    ]


def _database(workspace: Workspace) -> list[Check]:
    """Whether it can be reached, has this version's schema, and keeps what it acknowledges."""
    url = workspace.settings.database_url
    kind = "SQLite" if file_of(url) else "PostgreSQL"
    try:
        workspace.store.require_schema()
        doubts = workspace.store.doubts()
    except SchemaError as error:
        detail, _, remedy = str(error).partition("; ")
        return [Check(REACHED, True, kind), Check(SCHEMA, False, detail, remedy)]
    except StoreError as error:
        return [Check(REACHED, False, str(error), "start it, or correct `database.url` in consentric.toml or CONSENTRIC_DATABASE_URL")]
    found = [Check(REACHED, True, kind), Check(SCHEMA, True, migrations.HEAD)]
    return found + [Check("durability", False, doubt, remedy) for doubt, remedy in doubts]


def _outside(workspace: Workspace) -> list[Check]:
    """What is kept outside the workspace: whether it is there, and whether the database is no older than what it says."""
    faults = workspace.suppression.faults()
    if faults:
        return [Check(KEPT, False, str(fault).removesuffix(f"; {fault.remedy}"), fault.remedy) for fault in faults]
    try:
        with workspace.store.read() as session:
            workspace.outside.hold(session)
            check_key(session, workspace.suppression)
    except SuppressionError as fault:
        return [Check(KEPT, False, str(fault).removesuffix(f"; {fault.remedy}"), fault.remedy)]
    except BehindError as error:
        return [Check(KEPT, False, str(error).partition("; ")[0], "consentric rights replay", Exit.INTEGRITY)]
    return [Check(KEPT, True, f"in {workspace.suppression.folder}")]


def _connections(workspace: Workspace) -> list[Check]:
    """Databases that sources are in."""
    checks = []
    for name, url in sorted(workspace.settings.connections.items()):
        fault = reach(name, url)
        remedy = None if fault is None else "start it, or correct its address, its user and its password"
        checks.append(Check(f"connection {name}", fault is None, fault or "answers", remedy))
    return checks


def _rotations(workspace: Workspace, repair: bool) -> Check:
    """Keys whose exchange a crash cut short."""
    unfinished = rotation.unfinished(workspace.keys)
    if repair and unfinished:
        with workspace.store.transaction("doctor") as write:
            write.record("doctor.finished_rotation", keys=list(rotation.finish(write.session, workspace.keys)))
        unfinished = ()
    remedy = "consentric doctor --repair" if unfinished else None
    return Check("rotations", not unfinished, f"{len(unfinished)} cut short", remedy)


def _purpose_keys(workspace: Workspace) -> list[Check]:
    """Keys of pseudonyms that the log names: a lost one is not among those that can be read."""
    with workspace.store.read() as session:
        faults = key_faults(session, workspace.keys)
    return [Check("purpose keys", False, str(fault), fault.remedy) for fault in faults] or [
        Check("purpose keys", True, "those that the log names")
    ]


def _modes(workspace: Workspace) -> Check:
    mode = workspace.hidden.stat().st_mode & 0o777
    return Check(
        "folder", mode == 0o700, f"mode {mode:o} of {workspace.hidden.name}", None if mode == 0o700 else f"chmod 700 {workspace.hidden}"
    )


def _checkpoint(workspace: Workspace) -> Check:
    newest = workspace.checkpoint()
    with workspace.store.read() as session:
        size = audit_log.size(session.connection())
    behind = size - (newest.size if newest else 0)
    return Check("checkpoint", behind == 0, f"{size} entries, {behind} not covered", None if behind == 0 else "run any command once more")


def _stranded(workspace: Workspace, repair: bool) -> list[Check]:
    """Builds that a crash ended: they stay spent if anything was drawn, and can be given back if nothing was."""
    with workspace.store.read() as session:
        stranded = builds.builds(session, status=Status.BUILDING)
        joint = {each.build: each.name for each in partnerships.partnerships(session)}
    if repair:
        for build in stranded:
            if build.id in joint:  # no round comes any more
                delete(folder(workspace, joint[build.id]) / SECRET, "round-secret")
            with workspace.store.transaction("doctor") as write:
                builds.fail(write, build.id, "crashed")
                if build.reservation:  # what draws no noise has none
                    drawn = budget.transcript(write.session, build.reservation)
                    (budget.settle if drawn else budget.release)(write, build.reservation)
        return [Check("builds", True, f"{len(stranded)} unfinished builds closed")]
    return [
        Check(
            "builds",
            False,
            f"build `{build.id}` of `{build.segment}` did not end",
            f"if it does not run: consentric {_way_on(build, joint)} goes on with it, consentric doctor --repair closes it",
        )
        for build in stranded
    ] or [Check("builds", True, "none unfinished")]


def _way_on(build: builds.Build, joint: Mapping[builds.BuildId | None, str]) -> str:
    return f"partner run {joint[build.id]}" if build.id in joint else f"build {build.segment}"


def _leftovers(workspace: Workspace, repair: bool) -> Check:
    with workspace.store.read() as session:
        known = {build.id: build.status for build in builds.builds(session)}
    keep = {
        "builds": {Status.QUARANTINED, Status.RELEASED, Status.BUILDING},
        "releases": {Status.RELEASED},
        copies.ROUNDS: {Status.QUARANTINED, Status.RELEASED, Status.BUILDING},
        answers.PLACE: {Status.BUILDING},
    }
    found = [
        path
        for kind, states in keep.items()
        for path in (workspace.hidden / kind).glob("*")
        if path.suffix != PARTIAL and known.get(builds.BuildId(path.name)) not in states
    ] + list(workspace.hidden.glob("spill-*"))  # of a locked room (governance.room): may hold rows
    drafts = abandoned(workspace.hidden)
    if repair and (found or drafts):
        with workspace.store.transaction("doctor") as write:
            write.record("doctor.cleared", folders=len(found), drafts=drafts)
        for path in found:
            delete(path, "leftover")
        drafts -= abandoned(workspace.hidden, clear=True)
        found = []
    left = len(found) + drafts
    remedy = "consentric doctor --repair" if left else None
    return Check("leftovers", not left, f"{left} folders and drafts of what was cut short", remedy)


def _passports(workspace: Workspace, repair: bool) -> Check:
    """Releases whose passport a crash kept from being issued; it is issued at the next look at members too."""
    with workspace.store.read() as session:
        found = builds.builds(session, status=Status.RELEASED)
    without = [build for build in found if not (copies.released(workspace, build.id) / copies.PASSPORT).exists()]
    if repair:
        for build in without:
            release.passport(workspace, build)
        without = []
    return Check("passports", not without, f"{len(without)} releases without", "consentric doctor --repair" if without else None)


def _overdue(workspace: Workspace) -> Check:
    """What the clock ended and no sweep deleted yet, and models that should have been trained anew."""
    now = workspace.store.clock()
    with workspace.store.read() as session:
        live = [build for status in (Status.QUARANTINED, Status.RELEASED) for build in builds.builds(session, status=status)]
        ended = [build for build in live if builds.ended(session, build, now)]
    late = [f"build `{build.id}` of `{build.segment}` has expired" for build in ended]
    late += [
        f"build `{build.id}` of `{build.segment}` was to be retrained" for build in live if build.retrain_by and now >= build.retrain_by
    ]
    return Check("deadlines", not late, "; ".join(late) or "none passed", "consentric sweep; build anew" if late else None)


def _versions() -> list[Check]:
    checks = []
    for package, tested in TESTED.items():
        version = importlib.metadata.version(package)
        good = version.startswith(tested + ".")
        checks.append(Check(package, good, version, None if good else f"tried with {tested}: pip install -c constraints.txt consentric"))
    return checks
