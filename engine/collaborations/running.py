"""A joint run from its contract to its evidence, in steps that a crash between them does not spoil:

    1. rounds: every answer is kept (`engine.collaborations.rounds`), so that a run that was killed goes on with them
    2. the result, durable; from here on no partner is asked anything more
    3. every partner is told, and says over its signature where its transcript stands
    4. the log's entry of the release, the passport, the page

Whoever runs a contract again goes on where it was; of one that has its passport, partners who did not have the model yet are told.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit.merkle import IntegrityError
from engine import shares
from engine.answers import Answers, empty, hold, noted
from engine.bench import Bench
from engine.collaborations import evidence
from engine.collaborations.contracts import run_folder
from engine.collaborations.joint import learn
from engine.collaborations.result import Result, told
from engine.collaborations.rounds import CollaborationError, OverError, Rounds, over, said
from engine.files import delete, whole_file
from engine.workspace import Workspace, WorkspaceError
from federated import acknowledgement
from federated.acknowledgement import Acknowledgement
from federated.contract import Agreed
from federated.courier import Courier
from federated.messages import Terms
from federated.partner import today
from federated.rounds import finish
from governance.journal import JournalError
from governance.key_files import make_folder

STEPS = 4
"""Steps that a run reports besides those of `learn`."""

FREE_SECONDS = 2.0
"""For which a run waits for its folder, at which a look of `status` may hold on for a moment."""

RESULT, ANSWERS, ACKNOWLEDGED = "result.json", "answers", "acknowledged"
"""In a run's folder."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run came to. `silent`: partners who have not said that they have the model, and the word why."""

    result: Result
    acknowledged: Mapping[str, Acknowledgement]
    silent: Mapping[str, str]
    passport: Path
    page: Path


def folder(workspace: Workspace, agreed: Agreed) -> Path:
    """Of the run under a contract."""
    return run_folder(workspace, agreed.digest)


def run(bench: Bench, agreed: Agreed, courier: Courier) -> Ran:
    """Begin, or go on. Raises CollaborationError while partners are missing, OverError where nobody can go on, and as `learn` does."""
    place = folder(bench.workspace, agreed)
    make_folder(place.parent)
    make_folder(place)
    with _alone(place):
        result = kept(place) or _learned(bench, agreed, courier, place)
        if (place / ANSWERS).exists():  # of a run that was killed once it had its result
            delete(place / ANSWERS, "answers")
        silent: Mapping[str, str] = {}
        if len(_acknowledged(agreed, place)) < len(agreed.contract.partners):
            bench.progress("tell every partner")
            silent = _tell(agreed, courier, result, place)
        acknowledged = _acknowledged(agreed, place)
        silent = {name: why for name, why in silent.items() if name not in acknowledged}
        if len(acknowledged) < Terms.of(agreed).needed and not (place / evidence.DRAFT).exists():
            raise CollaborationError(
                f"the joint model is there, and not every partner has it: {said(silent)}; run again when they are there"
            )
        bench.progress("passport and page")
        passport = evidence.passport_of(agreed, result, acknowledged)
        path = evidence.release(bench.workspace, place, agreed, passport, acknowledged)
        page = evidence.write_page(bench.workspace, agreed, result, passport)
    return Ran(result, acknowledged, silent, path, page)


def ended(workspace: Workspace, agreed: Agreed) -> bool:
    """Whether every partner has the model, and there is a passport: nobody has to be asked or told any more."""
    return (folder(workspace, agreed) / evidence.PASSPORT).exists() and len(acknowledged(workspace, agreed)) == len(
        agreed.contract.partners
    )


def may_go_on(workspace: Workspace, agreed: Agreed) -> None:
    """Raises WorkspaceError after the contract's last day, OverError where what was paid for has no answer, IntegrityError as `notes` does:
    before anybody is reached for nothing."""
    if kept(folder(workspace, agreed)) is not None:
        return
    if agreed.contract.expires < today():
        raise WorkspaceError(f"contract `{agreed.contract.name}` expired on {agreed.contract.expires}: no round may begin; sign another")
    if paid := [note for note in notes(workspace, agreed) if note.get("paid")]:
        raise OverError(over(str(paid[0]["said"])))


def notes(workspace: Workspace, agreed: Agreed) -> tuple[Mapping[str, Any], ...]:
    """Of a run that may go on now, in order. Raises IntegrityError where they are damaged."""
    place = folder(workspace, agreed) / ANSWERS
    try:
        return () if empty(place) else noted(place)
    except JournalError as error:
        raise IntegrityError(str(error)) from None


def kept(place: Path) -> Result | None:
    """What was learned; None where nothing was so far."""
    path = place / RESULT
    return Result.parse(path.read_bytes()) if path.exists() else None


def acknowledged(workspace: Workspace, agreed: Agreed) -> Mapping[str, Acknowledgement]:
    """What partners signed when they got the model."""
    return _acknowledged(agreed, folder(workspace, agreed))


def _learned(bench: Bench, agreed: Agreed, courier: Courier, place: Path) -> Result:
    may_go_on(bench.workspace, agreed)
    terms = {"contract": agreed.digest, "shares": shares.joint(agreed.contract)}
    if new := empty(place / ANSWERS):
        delete(place / ANSWERS, "answers")
    answers = Answers.begin(place / ANSWERS, terms) if new else Answers.resume(place / ANSWERS)
    if answers is None:
        raise IntegrityError(f"what was answered under contract `{agreed.contract.name}` cannot be read in `{place / ANSWERS}`: restore it")
    try:
        if answers.terms != terms:
            raise OverError(over("another release of Consentric began this run, which asks other questions"))
        bench.progress("who is there" if new else f"who is there, to go on after {len(answers.given)} answers")
        rounds = Rounds(bench.workspace, agreed, courier, answers)
        rounds.meet()
        result = learn(rounds, bench.noise, bench.progress)
        with bench.workspace.store.transaction("joint-result") as write:
            write.record("collaboration.learned", contract=agreed.digest, rounds=len(result.asked), outcome=told(result).digest())
        with whole_file(place / RESULT, "joint-result-file") as partial:
            partial.write_bytes(result.canonical())
    finally:
        answers.let_go()
    return result


def _tell(agreed: Agreed, courier: Courier, result: Result, place: Path) -> dict[str, str]:
    """Each acknowledgement is durable; what a partner signed before is overwritten by what it signs now. Gives who is silent, and why."""
    signed, silent = finish(agreed, courier, told(result).canonical())
    silent |= {name: "charged less than it answered for" for name, one in signed.items() if one.spent < evidence.due(result, name)}
    silent |= {name: "charged more than the contract has" for name, one in signed.items() if one.spent > evidence.most(agreed.contract)}
    (place / ACKNOWLEDGED).mkdir(exist_ok=True, mode=0o700)
    for verifier in agreed.contract.identities:
        if verifier.name in signed.keys() - silent.keys():
            with whole_file(place / ACKNOWLEDGED / f"{verifier.key_id.hex()}.json", "acknowledgement") as partial:
                partial.write_bytes(signed[verifier.name].envelope)
    return silent


def _acknowledged(agreed: Agreed, place: Path) -> dict[str, Acknowledgement]:
    found = {}
    for verifier in agreed.contract.identities:
        path = place / ACKNOWLEDGED / f"{verifier.key_id.hex()}.json"
        if path.exists():
            found[verifier.name] = acknowledgement.read(path.read_bytes(), verifier)
    return found


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """No other process runs this contract here before the block ends."""
    if (handle := hold(place, FREE_SECONDS)) is None:
        raise CollaborationError("another process runs this contract already; wait for it, or end it with Ctrl-C")
    try:
        yield
    finally:
        os.close(handle)
