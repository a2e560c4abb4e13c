"""`consentric demo --federated`: partners who never show each other a row, and the joint segments beside those of one owner of it all.

For each scene of the demo: three partners in workspaces of their own, a coordinator without a row, a contract that all of them sign; a
link on this machine (TLS, a SuperLink of Flower's as a process), an agent of each partner as a process, and the run. The central
workspace, which has everybody's data, is what partners avoid: it is here to compare.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from engine.bench import Bench
from engine.collaborations import contracts, joint, link, running
from engine.collaborations.contracts import Envelope
from engine.collaborations.rounds import OverError
from engine.demo import beside, data, dealing, telling
from engine.demo.agents import Line, agents, direct, ending_with_us, serving
from engine.demo.dealing import PARTNERS
from engine.demo.run import ANALYST, OFFICER, built, holders, prepared
from engine.display import Display
from engine.partners import identity, joining, places
from engine.settings import FILE
from engine.workspace import Workspace, now
from federated import transcript
from federated.flower.pinned import require
from governance import builds, partnerships
from governance.principals import UNSAFE_VARIABLE

DAYS = 30
"""For which the contract holds."""

HOME = "beside this, each partner's ledger paid for a noisy count of its own people (its policy's `snapshot`), which stays at home"


@dataclass(frozen=True, slots=True)
class Scene:
    """What is learned together, of whom: data and documents of the demo `name`, whose subjects, by their `key`, have `homes`; `tell` shows
    the joint segment beside the central one, on `everybody`."""

    name: str
    segment: str
    key: str
    write: Callable[[Path], None]
    homes: Callable[[Path], dealing.Homes]
    everybody: str
    tell: Callable[[beside.Everybody, telling.Facts, telling.Facts], tuple[str, dict[str, Any]]]


SCENES = (
    Scene("cdnow", "shoppers", "customer_id", data.write_cdnow, dealing.by_number, beside.CUSTOMERS, telling.clusters),
    Scene("grocery", "coupon_fans", "household_id", data.write_grocery, dealing.by_store, beside.HOUSEHOLDS, telling.scores),
)


@dataclass(frozen=True, slots=True)
class Cast:
    """Workspaces of one scene."""

    central: Workspace
    partners: dict[str, Workspace]
    coordinator: Workspace


def run(into: Path, display: Display, scenes: Sequence[Scene] = SCENES, line: Line = direct) -> tuple[dict[str, Any], str]:
    """All scenes; returns the data and the text that the command prints. `line`: how a partner reaches the link.

    Raises TransportError without Flower, and where an agent ends by itself; DemoDataError; and what builds and runs raise.
    """
    require()
    started = time.monotonic()
    environment = {**os.environ, UNSAFE_VARIABLE: os.environ.get(UNSAFE_VARIABLE, ANALYST)}
    with ending_with_us():
        told = [play(scene, into, environment, display, line) for scene in scenes]
    text = "\n\n".join(text for _, text in told)
    return {"scenes": [row for row, _ in told], "note": data.NOTE}, f"\n{text}\n\n{_after(scenes, into, time.monotonic() - started)}"


def play(scene: Scene, into: Path, environment: dict[str, str], display: Display, line: Line) -> tuple[dict[str, Any], str]:
    """One scene, from the data to what is told."""
    actors = cast(scene, into, environment, display)
    envelope = signed(scene, actors)
    name = envelope.contract.name
    there = running.acknowledged(actors.coordinator, envelope.agreed)
    if where := {partner: workspace.root for partner, workspace in actors.partners.items() if partner not in there}:
        with serving(actors.coordinator.root, envelope, environment) as place, agents(name, where, place, line, environment) as watch:
            central = built(actors.central, f"{scene.name}/central", scene.segment, display)
            with display.progress(f"{scene.name}/together", joint.steps(envelope.contract) + 2) as progress:
                watch.until_connected(progress)
                with link.courier(actors.coordinator, envelope.agreed, display.note) as courier, _way_out(into / scene.name):
                    running.run(Bench.at(actors.coordinator, progress), envelope.agreed, courier)
            watch.until_ended()
    else:
        display.note(f"{scene.name}/together: `{name}` was run already; nothing was spent")
        central = built(actors.central, f"{scene.name}/central", scene.segment, display)
    found = {partner: _left(workspace, name) for partner, workspace in actors.partners.items()}
    with actors.partners[PARTNERS[0]].store.read() as session:
        together = next(build for build in builds.builds(session, scene.segment) if "joint" in build.facts)
    everybody = beside.everybody(actors.central.root / "data", scene.everybody, envelope.contract)
    words, figures = scene.tell(everybody, together.facts, central.facts)
    row = {
        "collaboration": name,
        "contract": envelope.digest,
        "segment": scene.segment,
        **figures,
        "left": {partner: telling.figures(each) for partner, each in found.items()},
        "report": str(actors.coordinator.root / "reports" / f"{name}.joint.html"),
    }
    heading = f"{scene.name}: `{name}`, learned of three partners together, beside `{scene.segment}` of one owner of all their rows"
    return row, f"{heading}\n\n{words}\n\nwhat left each partner:\n{telling.left(found)}\n{HOME}"


@contextmanager
def _way_out(folder: Path) -> Iterator[None]:
    """Of a run that is over, in a demo."""
    try:
        yield
    except OverError as error:
        raise OverError(f"{error}; in this demo: remove `{folder}`, and run it again") from None


def _left(workspace: Workspace, name: str) -> transcript.Verified:
    """A partner's transcript, verified as anybody may with the file and the key in the contract."""
    raw = (places.folder(workspace, name) / places.TRANSCRIPT).read_bytes()
    return transcript.verify(raw, identity.keys(workspace).verifier)


def cast(scene: Scene, into: Path, environment: dict[str, str], display: Display) -> Cast:
    """Those that are there, and those that are not there yet made, with data and consents dealt out."""
    root = into / scene.name
    everywhere = [root / name for name in ("central", *PARTNERS)]
    with tempfile.TemporaryDirectory(prefix="consentric-") as folder:
        parts = [Path(folder) / name for name in ("central", *PARTNERS)]
        if not all((place / FILE).is_file() for place in everywhere):
            for part in parts:
                part.mkdir()
            scene.write(parts[0])
            dealing.deal(parts[0], scene.key, scene.homes, parts[1:])
        made = [
            prepared(place, f"{scene.name}/{place.name}", scene.name, partial(_moved, part), environment, display)
            for place, part in zip(everywhere, parts, strict=True)
        ]
    return Cast(made[0], dict(zip(PARTNERS, made[1:], strict=True)), _coordinator(root / "coordinator", environment))


def _moved(part: Path, folder: Path) -> None:
    shutil.copytree(part, folder, dirs_exist_ok=True)


def _coordinator(root: Path, environment: dict[str, str]) -> Workspace:
    if (root / FILE).is_file():
        return Workspace.find(root, environment).open()
    return Workspace.create(root, demo=True, environment=environment, roles=holders(environment))


def signed(scene: Scene, cast: Cast) -> Envelope:
    """The contract with every partner's signature, and every partner in it."""
    coordinator = cast.coordinator
    folder = coordinator.root / contracts.FOLDER
    written = folder / f"{scene.name}.yaml"
    if not written.is_file():
        keys = {name: identity.make(workspace, name) for name, workspace in cast.partners.items()}
        terms = files("engine.demo").joinpath(scene.name, "collaboration.yaml").read_text()
        who = "".join(f"  - {key.verifier}\n" for key in keys.values())
        (folder / link.NODES).mkdir(parents=True, exist_ok=True)
        for name, key in keys.items():
            (folder / link.NODES / f"{name}.pub").write_text(f"{key.node_public}\n")
        written.write_text(f"{terms}partners:\n{who}expires: {now().date() + dt.timedelta(days=DAYS)}\n")
    envelope = contracts.create(coordinator, written)
    for name in envelope.missing:
        officer = Workspace.find(cast.partners[name].root, {**os.environ, UNSAFE_VARIABLE: OFFICER}).open()
        envelope = contracts.sign_envelope(officer, str(envelope.path))
    for workspace in cast.partners.values():
        with workspace.store.read() as session:
            joined = partnerships.find(session, envelope.contract.name)
        if joined is None:
            joining.join(workspace, envelope.raw, envelope.digest, scene.segment)
    return envelope


def _after(scenes: Sequence[Scene], into: Path, seconds: float) -> str:
    first = into / scenes[0].name
    name = f"joint_{scenes[0].segment}"
    reports = "\n".join(f"  {into / scene.name / 'coordinator' / 'reports' / f'joint_{scene.segment}.joint.html'}" for scene in scenes)
    analyst = f"{UNSAFE_VARIABLE}={ANALYST} consentric"
    return f"""sizes are noisy; {data.NOTE}
reports to open in a browser:
{reports}

done in {seconds:.0f} s. Four commands to try next (first: source .venv/bin/activate):
  {analyst} partner transcript show {name} -w {first / PARTNERS[0]}
  consentric collaboration show {name} -w {first / "coordinator"}
  {UNSAFE_VARIABLE}={OFFICER} consentric audit verify -w {first / PARTNERS[0]}
  {analyst} segments members {scenes[0].segment} -w {first / PARTNERS[1]}"""
