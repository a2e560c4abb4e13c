"""`consentric demo`: make the two workspaces if they are not there, build what is not built, and say what to try next."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from engine import consents, pipeline
from engine.bench import Bench
from engine.demo import data
from engine.display import Display, table
from engine.settings import FILE
from engine.workspace import Workspace
from governance import builds, principals
from governance.principals import UNSAFE_VARIABLE
from governance.roles import Holders, Role

ANALYST, OFFICER, AUDITOR = "demo-analyst", "demo-officer", "demo-auditor"


@dataclass(frozen=True, slots=True)
class Scene:
    """One workspace of the demo, and the segment that is built in it."""

    name: str
    segment: str
    write: Callable[[Path], None]


SCENES = (Scene("cdnow", "shoppers", data.write_cdnow), Scene("grocery", "coupon_fans", data.write_grocery))


def run(into: Path, display: Display) -> tuple[dict[str, Any], str]:
    """Both scenes; returns the data and the text that the command prints."""
    started = time.monotonic()
    environment = {**os.environ, UNSAFE_VARIABLE: os.environ.get(UNSAFE_VARIABLE, ANALYST)}
    rows = []
    for scene in SCENES:
        root = into / scene.name
        workspace = prepared(root, scene.name, scene.name, scene.write, environment, display)
        build = built(workspace, f"{scene.name}/{scene.segment}", scene.segment, display)
        facts = build.facts
        rows.append(
            {
                "workspace": str(root),
                "segment": scene.segment,
                "model": facts["model"],
                "status": build.status.value,
                "epsilon": facts["privacy"]["epsilon"],
                "admitted": round(facts["snapshot"]["admitted"]),
                "quality": facts["headline"],
                "fairness": facts["verdict"] or "not asked",
                "report": str(root / "reports" / f"{scene.segment}.html"),
            }
        )
    return {"segments": rows, "note": data.NOTE}, _text(rows, into, time.monotonic() - started)


def prepared(
    root: Path, title: str, documents: str, write: Callable[[Path], None], environment: dict[str, str], display: Display
) -> Workspace:
    """The workspace at `root`; where there is none, one with the demo's `documents`, and the data and consents that `write` writes."""
    if (root / FILE).is_file():
        return Workspace.find(root, environment).open()
    workspace = Workspace.create(root, demo=True, environment=environment, notes=(data.NOTE,), roles=holders(environment))
    for kind in ("contracts", "policies", "segments"):
        for document in files("engine.demo").joinpath(documents, kind).iterdir():
            (root / kind / document.name).write_bytes(document.read_bytes())
    display.note(f"{title}: writing data and generated consents")
    write(root / "data")
    consents.import_file(workspace, root / data.CONSENTS)
    (root / data.CONSENTS).unlink()  # the ledger has it; a copy beside it would outlast an erasure
    return workspace


def holders(environment: dict[str, str]) -> Holders:
    """Whoever runs the demo, claimed or not, is analyst and administrator of it, and somebody else its officer."""
    here = tuple(dict.fromkeys([ANALYST, environment[UNSAFE_VARIABLE], principals.current({}, demo=True).name]))
    return {Role.ANALYST: here, Role.ADMINISTRATOR: here, Role.OFFICER: (OFFICER,), Role.AUDITOR: (AUDITOR,)}


def built(workspace: Workspace, title: str, segment: str, display: Display) -> builds.Build:
    """The newest good build, or a new one."""
    good = {builds.Status.QUARANTINED, builds.Status.RELEASED}
    with workspace.store.read() as session:
        found = [build for build in builds.builds(session, segment) if build.status in good]
    if found:
        display.note(f"{title} is built already; nothing was spent")
        return found[0]
    with display.progress(title, pipeline.steps(workspace.segment(segment))) as progress:
        return pipeline.build(Bench.at(workspace, progress), segment)


def _text(rows: list[dict[str, Any]], into: Path, seconds: float) -> str:
    head = ("segment", "model", "status", "ε", "admitted", "quality", "fairness")
    lines = table(
        [(r["segment"], r["model"], r["status"], r["epsilon"], f"~{r['admitted']:,}", r["quality"], r["fairness"]) for r in rows], head
    )
    reports = "\n".join(f"  {row['report']}" for row in rows)
    cdnow, grocery = into / "cdnow", into / "grocery"
    analyst = f"{UNSAFE_VARIABLE}={ANALYST} consentric"
    return f"""
{lines}

counts are noisy; {data.NOTE}
reports to open in a browser:
{reports}

done in {seconds:.0f} s. Three commands to try next (first: source .venv/bin/activate):
  {UNSAFE_VARIABLE}={OFFICER} consentric approve coupon_fans -w {grocery}
  {analyst} consent withdraw 00003 -w {cdnow} && {analyst} plan shoppers -w {cdnow}
  consentric audit verify -w {cdnow}"""
