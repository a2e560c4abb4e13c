"""What became of a contract so far, for a terminal: rounds, charges, who was lost, who has the model."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from engine.answers import Answers, empty
from engine.collaborations import running
from engine.collaborations.contracts import Envelope
from engine.collaborations.result import Asked
from engine.collaborations.rounds import over
from engine.collaborations.running import Ran
from engine.workspace import Workspace
from federated.contract import Agreed
from federated.shares import Sharing, whole
from federated.transcript import epsilon

COLUMNS = ("round", "what", "state", "μ² charged", "without")


@dataclass(frozen=True, slots=True)
class Status:
    """`rows`: one for each round; `text`: where the run stands, and what comes next."""

    rows: tuple[tuple[str, ...], ...]
    text: str
    data: dict[str, Any]


def status_of(workspace: Workspace, envelope: Envelope) -> Status:
    """Raises nothing for a contract that nobody ran, or that not all signed."""
    if envelope.missing:
        waits = f"waits for the signature of {', '.join(envelope.missing)}; {envelope.digest}"
        return Status((), waits, {"state": "unsigned", "missing": list(envelope.missing), "rounds": []})
    agreed = envelope.agreed
    place = running.folder(workspace, agreed)
    if (result := running.kept(place)) is not None:
        have = running.acknowledged(workspace, agreed)
        silent = [verifier.name for verifier in agreed.contract.identities if verifier.name not in have]
        told = f"the joint model is there: {result.headline}"
        told += f"; {', '.join(silent)} does not have it yet: consentric collaboration run" if silent else "; every partner has it"
        data = {name: {"epsilon": epsilon(said.spent, agreed.contract.privacy.delta), "head": said.head} for name, said in have.items()}
        return _status(agreed, "learned", [_answered(asked) for asked in result.asked], told, {"partners": data, "silent": silent})
    if empty(place / running.ANSWERS):
        return _status(agreed, "agreed", [], "nobody ran it yet", {})
    if (answers := Answers.resume(place / running.ANSWERS)) is None:
        return _status(agreed, "running", [], "is being run now", {})
    answers.let_go()
    rows, paid = _rounds(answers)
    if paid:
        return _status(agreed, "over", rows, over(paid), {})
    return _status(agreed, "cut short", rows, "was cut short; consentric collaboration run goes on with it", {})


def ran_data(ran: Ran) -> dict[str, Any]:
    """With --json."""
    return {
        "collaboration": ran.result.name,
        "contract": ran.result.contract,
        "headline": ran.result.headline,
        "parts": [part.as_facts() for part in ran.result.parts],
        "rounds": len(ran.result.asked),
        "silent": dict(ran.silent),
        "passport": str(ran.passport),
        "report": str(ran.page),
    }


def ran_text(agreed: Agreed, ran: Ran) -> str:
    """What came of it."""
    lines = [
        f"{ran.result.name}: {ran.result.headline}",
        *(f"  {part.id}  {part.name}: {part.description}" for part in ran.result.parts),
        f"{len(ran.result.asked)} rounds; each partner charged at most ε {agreed.contract.privacy.epsilon:g}",
        f"report: {ran.page}",
        f"passport: {ran.passport}",
    ]
    if ran.silent:
        lines.append(f"{', '.join(ran.silent)} does not have the model yet; run again when it is there")
    return "\n".join(lines)


def _status(agreed: Agreed, state: str, rows: list[tuple[str, ...]], text: str, more: dict[str, Any]) -> Status:
    charged = sum((Fraction(row[3]) for row in rows if row[3]), Fraction(0))
    share = float(charged / (whole(agreed.contract).mu_squared * Sharing.of(agreed.contract).factor))
    shown = tuple((*row[:3], f"{float(Fraction(row[3])):.3g}" if row[3] else "", row[4]) for row in rows)
    data = {"collaboration": agreed.contract.name, "contract": agreed.digest, "state": state, "share_charged": share}
    rounds = [dict(zip(("round", "what", "state", "charged", "without"), row, strict=True)) for row in rows]
    words = f"{agreed.contract.name}: {text}\ncharged so far: {100 * share:.0f} % of what the contract allows"
    return Status(shown, words, data | {"rounds": rounds} | more)


def _answered(asked: Asked) -> tuple[str, ...]:
    return str(asked.round), asked.path, "answered", asked.charged, ", ".join(asked.without)


def _rounds(answers: Answers) -> tuple[list[tuple[str, ...]], str]:
    """Of a run that was cut short, and why it cannot go on, if so."""
    states = {note["aborted"]: (str(note["said"]), bool(note["paid"])) for note in answers.notes if "aborted" in note}
    done = {note["without"]: str(note["names"]) for note in answers.notes if "without" in note}
    rows: list[tuple[str, ...]] = []
    for note in answers.notes:
        if "round" in note:
            number = note["round"]
            state = states[number][0] if number in states else "answered" if number in done else "open"
            rows.append((str(number), str(note["path"]), state, str(note["charged"]) if number in done else "", done.get(number, "")))
    return rows, next((said for said, paid in states.values() if paid), "")
