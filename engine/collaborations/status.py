"""What became of a contract so far, for a terminal: rounds, charges, who was lost, who has the model.

All of it is durable and read without a lock, so that a run goes on undisturbed while somebody looks. What is charged follows from the
rounds: each partner's own ledger counts, and says so over its signature when it gets the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from engine import reports
from engine.answers import empty, held
from engine.collaborations import evidence, link, running
from engine.collaborations.contracts import Envelope
from engine.collaborations.result import Asked, Result
from engine.collaborations.rounds import over
from engine.collaborations.running import Ran
from engine.workspace import Workspace
from federated.contract import Agreed
from federated.transcript import epsilon

COLUMNS = ("round", "what", "state", "ε so far", "without")


@dataclass(frozen=True, slots=True)
class Round:
    """One that was begun. `state`: `answered`, `asked`, or why it was aborted; `charged`: μ² at each partner, also where that is not sure
    (`paying`: vectors were asked for, and did not make a sum); `without`: who was lost."""

    number: int
    what: str
    state: str
    charged: Fraction
    paying: bool = False
    without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """`rows`: one for each round; `text`: where the run stands, and what comes next."""

    rows: tuple[tuple[str, ...], ...]
    text: str
    data: dict[str, Any]


def status_of(workspace: Workspace, envelope: Envelope) -> Status:
    """Of a contract that nobody ran, or that not all signed, too. Raises IntegrityError where what was answered cannot be read."""
    if envelope.missing:
        waits = f"waits for the signature of {', '.join(envelope.missing)}; {envelope.digest}"
        return Status((), waits, {"state": "unsigned", "missing": list(envelope.missing), "rounds": []})
    agreed, name = envelope.agreed, envelope.contract.name
    place = running.folder(workspace, agreed)
    running_now = held(place)
    if (result := running.kept(place)) is not None:
        rounds = [_answered(asked) for asked in result.asked]
        have = running.acknowledged(workspace, agreed)
        silent = [verifier.name for verifier in agreed.contract.identities if verifier.name not in have]
        told = f"the joint model is there: {result.headline}{_fairness(result)}"
        if silent and running_now:
            told += f"; {', '.join(silent)} is being told"
        elif silent:
            told += f"; {', '.join(silent)} does not have it yet: consentric collaboration run {name}"
        else:
            told += "; every partner has it"
        data = {name: {"epsilon": epsilon(said.spent, agreed.contract.privacy.delta), "head": said.head} for name, said in have.items()}
        asks = link.state(workspace, agreed) if silent else None
        return _status(agreed, "learned", rounds, told, asks, {"partners": data, "silent": silent, "verdict": result.verdict})
    notes = running.notes(workspace, agreed)
    rounds, paid = _rounds(notes), next((str(note["said"]) for note in notes if note.get("paid")), "")
    if paid:
        return _status(agreed, "over", rounds, over(paid), None)
    asks = link.state(workspace, agreed)
    if running_now:
        return _status(agreed, "running", rounds, "is being run now", asks)
    if empty(place / running.ANSWERS):
        return _status(agreed, "agreed", rounds, f"nobody ran it yet; consentric collaboration run {name} does", asks)
    return _status(agreed, "cut short", rounds, f"was cut short; consentric collaboration run {name} goes on with it", asks)


def ran_data(ran: Ran) -> dict[str, Any]:
    """With --json."""
    return {
        "collaboration": ran.result.name,
        "contract": ran.result.contract,
        "headline": ran.result.headline,
        "verdict": ran.result.verdict,
        "fairness": reports.plain(ran.result.fairness),
        "parts": [part.as_facts() for part in ran.result.parts],
        "rounds": len(ran.result.asked),
        "silent": dict(ran.silent),
        "passport": str(ran.passport),
        "report": str(ran.page),
    }


def ran_text(agreed: Agreed, ran: Ran) -> str:
    """What came of it."""
    lines = [
        f"{ran.result.name}: {ran.result.headline}{_fairness(ran.result)}",
        *(f"  {part.id}  {part.name}: {part.description}" for part in ran.result.parts),
        f"{len(ran.result.asked)} rounds; each partner charged at most ε {agreed.contract.privacy.epsilon:g}",
        f"report: {ran.page}",
        f"passport: {ran.passport}, to hand to every partner; the report has the command that checks it",
    ]
    if ran.silent:
        lines.append(f"{', '.join(ran.silent)} does not have the model yet; run again when it is there")
    return "\n".join(lines)


def _fairness(result: Result) -> str:
    """The verdict, where the contract names groups, and why."""
    found = "; ".join(f"by {each.attribute} {each.verdict}: {each.reason}" for each in result.fairness)
    return f"; fairness {result.verdict} ({found})" if found else ""


def _status(
    agreed: Agreed, state: str, rounds: Sequence[Round], text: str, at: link.State | None, more: Mapping[str, Any] | None = None
) -> Status:
    """`at`: the link, where anybody is still to be asked over it."""
    contract, names = agreed.contract, [verifier.name for verifier in agreed.contract.identities]
    done = [each for each in rounds if each.state == "answered"]
    charged, unsure = (sum((each.charged for each in rounds if each.paying in which), Fraction(0)) for which in ({False}, {True}))
    share = float(charged / evidence.most(contract))
    last = [name for name in names if done and name not in done[-1].without]
    spent, most = (epsilon(mu_squared, contract.privacy.delta) for mu_squared in (charged, charged + unsure))
    lines = [f"{contract.name}: {text}"]
    if rounds:
        lines.append(f"rounds: {len(done)} of {len(rounds)} that were asked are answered; the contract allows {contract.rounds}")
        budget = f"ε {spent:.3g} of {contract.privacy.epsilon:g}, {100 * share:.0f} % of the μ² allowed"
        lines.append(f"charged: {budget}, at each partner that answered them all")
        if unsure:
            lines[-1] += f"; up to ε {most:.3g} with a round that was asked and has no answer"
    if last:
        lines.append(f"answered last: {', '.join(last)}")
    about: dict[str, Any] = {}
    if at is not None:
        missing = [name for name in names if name not in at.connected]
        about = {"link": {"address": at.address or None, "connected": list(at.connected), "missing": missing}}
        if at.address:
            lines.append(f"link: up at {at.address}; {len(at.connected)} of {len(names)} partners are connected")
            lines[-1] += f", not {', '.join(missing)}" if missing else ""
        else:
            lines.append(f"link: down; consentric collaboration serve {contract.name} starts it")
    data = {"collaboration": contract.name, "contract": agreed.digest, "state": state, "share_charged": share, "epsilon_charged": spent}
    data |= {"epsilon_at_most": most, "answered_last": last, "rounds": [_plain(each) for each in rounds]}
    return Status(_rows(rounds, contract.privacy.delta), "\n".join(lines), data | about | dict(more or {}))


def _rows(rounds: Sequence[Round], delta: float) -> tuple[tuple[str, ...], ...]:
    rows, charged = [], Fraction(0)
    for each in rounds:
        charged += each.charged
        so_far = f"{'≤ ' if each.paying else ''}{epsilon(charged, delta):.3g}" if each.charged else ""
        rows.append((str(each.number), each.what, each.state, so_far, ", ".join(each.without)))
    return tuple(rows)


def _plain(each: Round) -> dict[str, Any]:
    charged = str(each.charged) if each.charged else ""
    return {"round": each.number, "what": each.what, "state": each.state, "charged": charged, "without": list(each.without)}


def _answered(asked: Asked) -> Round:
    return Round(asked.round, asked.path, "answered", Fraction(asked.charged), without=asked.without)


def _rounds(notes: Sequence[Mapping[str, Any]]) -> list[Round]:
    """Of a run that has no result yet."""
    aborted = {note["aborted"]: str(note["said"]) for note in notes if "aborted" in note}
    done = {note["without"]: tuple(filter(None, str(note["names"]).split(","))) for note in notes if "without" in note}
    paying = {note["paying"] for note in notes if "paying" in note} - done.keys()
    rounds = []
    for note in notes:
        if "round" in note:
            number = note["round"]
            said = "answered" if number in done else aborted.get(number, "asked")
            charged = Fraction(note["charged"]) if number in done or number in paying else Fraction(0)
            rounds.append(Round(number, note["path"], said, charged, number in paying, done.get(number, ())))
    return rounds
