"""What all commands share: options, the opened workspace, and faults turned into one error and an exit code."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.display import Display
from engine.gates import Exit, Refused
from governance.roles import MENDING, READABLE_BEHIND, Action

if TYPE_CHECKING:
    from engine.workspace import Workspace

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Where = Annotated[Path | None, typer.Option("--workspace", "-w", help="The workspace, where it is not the current folder.")]


@dataclass
class Desk:
    """One command at work."""

    display: Display
    where: Path | None = None

    def workspace(self, action: Action, alone: bool = False, behind: bool = False) -> Workspace:
        """The opened workspace, for whoever may do `action` in it; `alone` and `behind` as in `Workspace.open`.

        An erasure that a crash cut short is finished first. Raises Refused, and what finding and opening raise.
        """
        from engine import roles
        from engine.workspace import Workspace
        from governance.erasures import unfinished

        behind = behind or action in READABLE_BEHIND
        workspace = Workspace.find(self.where).open(alone, behind)
        roles.authorise(workspace, action)
        with workspace.store.read() as session:
            cut_short = not behind and bool(unfinished(session))
        if cut_short:
            try:
                from engine import rights  # heavy, and nearly never needed

                rights.resume(workspace)
            except Exception as error:  # whatever it is: it stops what spends, reads people or releases
                if action not in MENDING:
                    raise
                self.display.note(f"an erasure that was begun is not finished: {describe(error, exit_code(error), self.where)}")
        return workspace


@contextmanager
def desk(as_json: bool, where: Path | None = None) -> Iterator[Desk]:
    """Runs the body of a command; each fault becomes one line on stderr and its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without ε is shown its number, not a fault
    at = Desk(Display(as_json), where)
    try:
        yield at
        sys.stdout.flush()  # a reader who left is met here, and not when Python ends
    except typer.Exit:
        raise
    except BrokenPipeError:  # whoever read the result has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Refused as refused:
        at.display.refused(refused.findings, refused.code, _HEADLINES[refused.code])
        raise typer.Exit(refused.code) from None
    except Exception as error:  # noqa: BLE001 (the last place: whatever it is becomes one line and an exit code)
        code = exit_code(error)
        at.display.note(f"error: {describe(error, code, where)}")
        if as_json:
            at.display.result({"exit": int(code), "error": describe(error, code, where)})
        raise typer.Exit(code) from None


_HEADLINES = {Exit.DENIED: "denied", Exit.BUDGET: "budget exhausted", Exit.FAIRNESS: "stopped at the fairness gate"}


def exit_code(error: Exception) -> Exit:
    """The exit code of a fault, by its type's name in our packages, so that nothing heavy is imported to ask."""
    names = {cls.__name__ for cls in type(error).__mro__ if cls.__module__.split(".")[0] in _OURS}
    for code, members in _CODES.items():
        if names & members:
            return code
    return Exit.MACHINE


_OURS = {"engine", "governance", "policies", "audit", "federated"}
_CODES = {
    Exit.INTEGRITY: {"IntegrityError"},
    Exit.USAGE: {
        "WorkspaceError",
        "SettingsError",
        "DocumentError",
        "ExpressionError",
        "MinimisationError",
        "ConsentError",
        "SourceNameError",
        "DemoDataError",
        "BackupError",
        "ContractError",
    },
    Exit.DENIED: {"PrincipalError"},
    Exit.BUDGET: {"BudgetExceeded", "OverError"},
}
_PLAIN = {
    "StoreError",
    "KeyFault",
    "SourceError",
    "ExtractionError",
    "SuppressionError",
    "CollaborationError",
    "TransportError",
    "DoorError",
}


def describe(error: Exception, code: Exit, where: Path | None) -> str:
    """What may be shown of a fault. Texts of our own errors hold no row; of others only the type is shown."""
    names = {cls.__name__ for cls in type(error).__mro__}
    if code is not Exit.MACHINE or names & _PLAIN:
        return str(error)
    if isinstance(error, OSError):
        return f"{error.strerror or 'input or output failed'}" + (f": `{error.filename}`" if error.filename else "")
    kept = _keep(where)
    return f"a fault inside ({type(error).__name__}); nothing was released, what was spent stays spent" + (
        f"; details in `{kept}`" if kept else ""
    )


def _keep(where: Path | None) -> Path | None:
    """The traceback, readable by the workspace's owner alone: it may hold values of rows."""
    from engine.settings import HIDDEN
    from engine.workspace import Workspace

    try:
        path = Workspace.find(where).root / HIDDEN / "faults.log"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as file:
            file.write(traceback.format_exc() + "\n")
        return path
    except Exception:  # noqa: BLE001 (keeping a fault must not become another)
        return None
