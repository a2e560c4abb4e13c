"""A contract in words for whoever answers for it: who, what for, what of whom, how much it may cost, and whom it protects against.

Everything here is in the contract or follows from it (`federated.shares`).
"""

from __future__ import annotations

from collections.abc import Iterator

from audit.wording import number, percent, small
from engine import shares
from engine.collaborations.contracts import Envelope
from engine.collaborations.joint import steps
from engine.wording import model_words
from federated.contract import Collaboration, Condition, Measured
from federated.shares import Sharing, whole
from governance.accounting import RESERVED_DRAWS, epsilon_of

SHARES = {
    "subjects": "how many subjects there are at all partners",
    "train": "training",
    "scores": "the distribution of scores",
    "curve": "how good scores are",
    "profiles": "what segments are like",
    "sizes": "how large segments are",
    "fairness": "how groups fare, and how well features would tell them",
}


def lines(contract: Collaboration) -> Iterator[tuple[str, str]]:
    """As (what, value): all that a page shows of a contract, besides partners, purpose and features."""
    n, colluders = len(contract.partners), contract.colluders
    yield "Model", model_words(contract.model)
    if isinstance(contract.label, Measured):
        yield "Label", f"{contract.label.meaning}; {bounds(contract.label)}"
    elif isinstance(contract.label, Condition):
        yield "Label", f"true if {contract.label.meaning}"
    yield "Privacy", f"all rounds together cost a subject at most ε {contract.privacy.epsilon:g} at δ {small(contract.privacy.delta)}"
    yield from _groups(contract)
    yield "Rounds", f"at most {contract.rounds:,}, aborted ones too; none begins after {contract.expires:%Y-%m-%d} (UTC)"
    yield "May collude", _colluding(n, colluders)
    yield (
        "May be lost",
        (
            "nobody: a round that loses a partner is aborted, and what was charged for it stays charged"
            if contract.dropouts == 0
            else f"{contract.dropouts} of {n} in a round; a sum is opened where at least {contract.least_partners} are there"
        ),
    )
    yield (
        "One subject",
        (
            "is at one partner alone"
            if contract.presence == 1
            else f"may be at {contract.presence} partners, and is protected at all together"
        ),
    )
    yield (
        "Subjects",
        f"at most {contract.max_subjects:,} at a partner"
        + (f"; a segment of fewer than {contract.cohort_floor:,} at all partners is not told of" if contract.cohort_floor else ""),
    )


def prices(contract: Collaboration) -> Iterator[tuple[str, float, float]]:
    """(what is asked, share of the budget, ε that it alone costs a subject at each partner)."""
    grants, sharing = whole(contract).split(**shares.joint(contract)), Sharing.of(contract)
    total = sum(grant.mu_squared for grant in grants.values())
    for name, grant in grants.items():
        alone = epsilon_of(grant.mu_squared * sharing.factor, RESERVED_DRAWS, contract.privacy.delta)
        yield SHARES[name], float(grant.mu_squared / total), alone


def _groups(contract: Collaboration) -> Iterator[tuple[str, str]]:
    """Of a contract that says nothing of groups nothing is said, as nobody is asked."""
    if (fairness := contract.fairness) is None:
        return
    for name, each in fairness.attributes.items():
        yield f"Fairness by {name}", f"{each.meaning}: {', '.join(each.groups)}"
    least, most = percent(fairness.min_ratio), percent(fairness.max_gap)
    fair = f"where a group is chosen at least {least} as often as any other, and errors and calibration differ by {most} at most"
    yield "Fair", f"{fair}; what becomes of another verdict, each partner's own policy says"
    yield "Read for that", f"for {fairness.purpose} alone, of whom a partner's policy and consent allow it"


def bounds(measured: Measured) -> str:
    """Between which values it counts."""
    low, high = (number(float(each)) for each in measured.bounds)
    unit = f" {measured.unit}" if measured.unit else ""
    return f"{low} to {high}{unit}" + (", finer where small" if measured.scale == "log" else "")


def text(envelope: Envelope) -> str:
    """For a terminal."""
    contract = envelope.contract
    factor = float(Sharing.of(contract).factor)
    signed = {verifier.name for verifier in envelope.signed}
    told = [
        f"collaboration {contract.name}, for {contract.purpose}",
        "",
        "partners:",
        *(f"  {v.name}: {'signed' if v.name in signed else 'has not signed yet'}  {v}" for v in contract.identities),
        "",
        "each partner works out of its own data, at home:",
        *(f"  {name}: {each.meaning}; {bounds(each)}" for name, each in contract.features.items()),
        "",
        *(f"{what.lower()}: {value}" for what, value in lines(contract)),
        "",
        f"what each partner's budget is charged, in at most {steps(contract)} steps of one round or a few:",
        *(f"  {what}: {percent(share)} of the budget (alone it would be ε {alone:.3g})" for what, share, alone in prices(contract)),
    ]
    if factor > 1:
        told.append(
            f"a partner charges {factor:.3g} times what the noise of a sum says, because not every partner's noise counts as secret"
        )
    told += [
        "",
        "no partner and no coordinator sees a row, a part of a sum, or how many subjects a partner has;",
        "every partner may refuse any round, and says then one word and no reason.",
        "",
        f"digest, to write down and to ask for: {envelope.digest}",
    ]
    return "\n".join(" ".join(line.splitlines()) for line in told)  # what others wrote begins no line of its own, which could say anything


def data(envelope: Envelope) -> dict[str, object]:
    """With --json."""
    contract = envelope.contract
    return {
        "collaboration": contract.name,
        "digest": envelope.digest,
        "file": str(envelope.path),
        "signed": [verifier.name for verifier in envelope.signed],
        "missing": list(envelope.missing),
        "terms": dict(lines(contract)),
        "prices": [{"what": what, "share": share, "epsilon": alone} for what, share, alone in prices(contract)],
        "contract": contract.model_dump(mode="json"),
    }


def _colluding(n: int, colluders: int) -> str:
    if colluders == 0:
        return "nobody but whoever leads, who learns sums with noise alone"
    many = "1 partner" if colluders == 1 else f"{colluders} partners"
    return f"whoever leads and up to {many} of {n}, who learn sums with the noise of the others and nothing else"
