"""What the command line shows of a partner's side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from audit.checkpoint import Verifier
from engine import views
from engine.files import whole_file
from engine.partners import identity
from engine.partners.participation import find
from engine.partners.places import TRANSCRIPT, folder
from engine.partners.serving import Served
from engine.workspace import Workspace, WorkspaceError, given
from federated import transcript as transcripts
from federated.transcript import END, Entry
from governance.builds import Status
from policies.documents import Digest

COLUMNS = ("entry", "round", "step", "payload", "bytes", "refused", "μ²", "ε so far")


def served(workspace: Workspace, name: str, done: Served) -> tuple[dict[str, Any], str]:
    """How a run ended."""
    if done.build is None:
        when = f"after round {done.rounds}" if done.rounds else "before any round"
        told = f"stopped {when}; consentric partner run {name} goes on"
        return {"collaboration": name, "rounds": done.rounds, "ended": False}, told
    data, text = views.built(workspace, done.build)
    if done.build.status is Status.REFUSED:
        found = "; ".join(f"{each['attribute']}: {each['verdict']}, {each['reason']}" for each in done.build.facts["fairness"])
        text += f"\nthe fairness verdict of all partners is {done.build.facts['verdict']}, and the policy refuses that: {found}"
    return {"collaboration": name, "rounds": done.rounds, "ended": True, **data}, text


def transcript(workspace: Workspace, name: str, to: Path | None = None) -> tuple[list[tuple[str, ...]], dict[str, Any]]:
    """Every entry, and a copy of the file where one is asked for. Raises WorkspaceError where nothing left yet."""
    find(workspace, name)
    path, key = folder(workspace, name) / TRANSCRIPT, identity.keys(workspace).verifier
    if not path.exists():
        raise WorkspaceError(f"nothing left for `{name}` yet; consentric partner run {name} takes part")
    raw = path.read_bytes()
    raw = raw[: raw.rfind(b"\n") + 1]  # what is being written is no entry yet
    if to is not None:
        workspace.check_leaving(to)
        with whole_file(to.resolve(), "transcript-copy") as partial:
            partial.write_bytes(raw)
    found = transcripts.verify(raw, key)
    data = {
        "collaboration": name,
        "verifier_key": str(key),
        "head": found.head,
        "ended": found.ended,
        "entries": [_plain(entry) for entry in found.entries],
    }
    return [_row(entry) for entry in found.entries], data


def verified(file: Path, key: str, head: str | None) -> tuple[dict[str, Any], str]:
    """What somebody else's transcript shows. Raises WorkspaceError for a file that cannot be read, or a key that is none."""
    try:
        verifier = Verifier.parse(key)
    except ValueError as error:
        raise WorkspaceError(f"`--key`: {error}") from None
    found = transcripts.verify(given(file), verifier, None if head is None else Digest(head))
    left = [entry.left for entry in found.entries if entry.left.step != END]
    spent = found.entries[-1].epsilon if found.entries else 0.0
    data = {
        "intact": not found.findings,
        "findings": list(found.findings),
        "partner": verifier.name,
        "contract": found.entries[0].contract if found.entries else None,
        "payloads": len(left),
        "bytes": sum(each.size for each in left),
        "refusals": sum(each.code is not None for each in left),
        "epsilon": spent,
        "ended": found.ended,
        "head": found.head,
    }
    if found.findings:
        return data, "\n".join((*found.findings, f"`{file}` does not verify"))
    words = f"{len(left)} payloads of {data['bytes']} bytes left `{verifier.name}`, {data['refusals']} of them refusals, for ε {spent:.4g}"
    return data, f"{words}; nothing was changed, moved or cut" + ("" if found.ended else " up to that head")


def _plain(entry: Entry) -> dict[str, Any]:
    left = entry.left
    return {
        "entry": entry.number,
        "at": entry.at,
        "round": left.round,
        "step": left.step,
        "payload": left.payload,
        "size": left.size,
        "code": left.code,
        "path": left.path,
        "mu_squared": None if left.charged is None else str(left.charged),
        "epsilon": entry.epsilon,
    }


def _row(entry: Entry) -> tuple[str, ...]:
    left = entry.left
    charged = "" if left.charged is None else f"{float(left.charged):.3g}"
    shown = left.payload.removeprefix("sha256:")[:16]
    return str(entry.number), str(left.round), left.step or "-", shown, str(left.size), left.code or "", charged, f"{entry.epsilon:.4g}"
