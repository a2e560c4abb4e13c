"""What `consentric doctor` checks, each with a remedy: keys, modes, checkpoint, leftovers, reservations, versions."""

from __future__ import annotations

import importlib.metadata
import shutil
from dataclasses import dataclass
from pathlib import Path

from audit import log as audit_log
from audit.merkle import IntegrityError
from engine import release
from engine.gates import Exit
from engine.workspace import Workspace
from governance import budget, builds
from governance.builds import Status
from governance.pseudonyms import key_faults

TESTED = {"duckdb": "2.0", "sqlglot": "30.30", "opendp": "0.16", "scikit-learn": "1.7"}
"""Versions whose behaviour the engine leans on (FINDINGS of the project); others may work and were not tried."""


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
    try:
        workspace.open(alone=repair)
    except IntegrityError as error:
        return [*checks, Check("log", False, str(error), "run `consentric audit verify`; keep the files as they are", Exit.INTEGRITY)]
    checks += [
        *_purpose_keys(workspace),
        _checkpoint(workspace),
        *_stranded(workspace, repair),
        _leftovers(workspace, repair),
        _passports(workspace, repair),
    ]
    return [*checks, *_versions()]


def _keys(workspace: Workspace) -> list[Check]:
    faults = workspace.keys.faults()
    return [Check("keys", False, str(fault), fault.remedy) for fault in faults] or [
        Check("keys", True, "all readable, by their owner alone")
    ]


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
    if repair:
        for build in stranded:
            with workspace.store.transaction("doctor") as write:
                builds.fail(write, build.id, "crashed")
                drawn = budget.transcript(write.session, build.reservation)
                (budget.settle if drawn else budget.release)(write, build.reservation)
        return [Check("builds", True, f"{len(stranded)} unfinished builds closed")]
    return [
        Check("builds", False, f"build `{build.id}` of `{build.segment}` did not end", "if it does not run: consentric doctor --repair")
        for build in stranded
    ] or [Check("builds", True, "none unfinished")]


def _leftovers(workspace: Workspace, repair: bool) -> Check:
    with workspace.store.read() as session:
        known = {build.id: build.status for build in builds.builds(session)}
    keep = {"builds": {Status.QUARANTINED, Status.RELEASED, Status.BUILDING}, "releases": {Status.RELEASED}}
    found = [
        path
        for kind, states in keep.items()
        for path in (workspace.hidden / kind).glob("*")
        if known.get(builds.BuildId(path.name)) not in states
    ] + list(workspace.hidden.glob("spill-*"))  # of a locked room (governance.room): may hold rows
    if repair and found:
        with workspace.store.transaction("doctor") as write:
            write.record("doctor.cleared", folders=len(found))
        for path in found:
            shutil.rmtree(path, ignore_errors=True)
        found = []
    remedy = "consentric doctor --repair" if found else None
    return Check("leftovers", not found, f"{len(found)} folders of builds that were cut short", remedy)


def _passports(workspace: Workspace, repair: bool) -> Check:
    """Releases whose passport a crash kept from being issued; it is issued at the next look at members too."""
    with workspace.store.read() as session:
        found = builds.builds(session, status=Status.RELEASED)
    without = [build for build in found if not (release.released(workspace, build.id) / release.PASSPORT).exists()]
    if repair:
        for build in without:
            release.passport(workspace, build)
        without = []
    return Check("passports", not without, f"{len(without)} releases without", "consentric doctor --repair" if without else None)


def _versions() -> list[Check]:
    checks = []
    for package, tested in TESTED.items():
        version = importlib.metadata.version(package)
        good = version.startswith(tested + ".")
        checks.append(Check(package, good, version, None if good else f"tried with {tested}: pip install -c constraints.txt consentric"))
    return checks
