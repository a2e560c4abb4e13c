"""What a policy says to a request: is the purpose allowed, and which columns may be read for it.

Deny wins; a gap or an error counts as deny; what no rule permits is denied. Every finding is complete, and all of them
come at once. Pure: the same policy and request give the same findings, whatever the order of the rules. Which rows
may be read (consent) and who may act (roles, approvals) is the business of `governance`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from policies import columns
from policies.columns import NO_RULE, Asked, coarsening, judged
from policies.contract import Column, Contract
from policies.decisions import Allow, Cause, Deny, Finding
from policies.generalisation import Generalisation
from policies.jurisdictions import DEFAULT, plain
from policies.matching import Facts, names
from policies.policy import Policy, Purpose, Unknown
from policies.rules import Reading, Recipient, Transfer
from policies.taxonomy import Vocabulary, known, nearest

__all__ = [
    "NO_RULE",
    "Request",
    "Use",
    "decide",
    "decide_destination",
    "for_admission",
    "generalisations",
    "judge",
    "nearest_miss",
    "places",
]


INSIDE = "without-privacy-stays-inside"
"""What forbids every destination to what was learned without differential privacy; no policy can lift it."""


@dataclass(frozen=True, slots=True)
class Use:
    """A column that would be read: by which features (or label, look-up, attribute), and why.

    `fairness`: for that audit alone; `admission`: to know who is a child, and for nothing else.
    """

    table: str
    column: str
    needed_by: tuple[str, ...]
    why: str | None = None
    fairness: bool = False
    admission: bool = False

    @property
    def name(self) -> str:
        """`table.column`, as findings name it."""
        return f"{self.table}.{self.column}"

    @property
    def reading(self) -> Reading:
        """What it is read for."""
        return Reading.FAIRNESS if self.fairness else Reading.ADMISSION if self.admission else Reading.SEGMENT


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody wants to do: a segment of type `model` for `purpose`, which reads `uses` and is handed to `destination`.

    `model` is one of `policies.policy.MODELS`; without a destination the result stays in the workspace. `private`: with differential
    privacy; without it nothing leaves the controller.
    """

    purpose: str
    contract: Contract
    uses: tuple[Use, ...]
    model: str
    destination: str | None = None
    private: bool = True


def decide(policy: Policy, request: Request) -> Allow | Deny:
    """Allow with every permit, or Deny with every block. A fairness use is judged under the fairness purpose alone."""
    return _verdict(judge(policy, request))


def decide_destination(policy: Policy, destination: str | None, request: Request | None = None) -> Allow | Deny:
    """Whether a release may be handed to `destination`, with what `request` read; none: it stays in the workspace."""
    found = _guarded(policy, destination or "workspace", partial(_destination, policy, destination))
    if request is not None:
        found += tuple(finding for finding in judge(policy, replace(request, destination=destination)) if finding.blocks)
    return _verdict(found)


def judge(policy: Policy, request: Request) -> tuple[Finding, ...]:
    """Every finding, permits beside blocks: the purposes first, then the columns in the request's order."""
    found = list(_guarded(policy, request.purpose, partial(_purposes, policy, request)))
    digest = next((finding.policy for finding in found if finding.cause is not Cause.ERROR), None)
    for use in request.uses:
        found += _guarded(policy, use.name, partial(_use, policy, request, use), digest)
    return tuple(found)


def generalisations(policy: Policy, request: Request) -> Mapping[tuple[str, str], tuple[Generalisation, ...]]:
    """What becomes of each column before anything is computed from it: steps to take one after the other, in this order.

    Only steps that the column's type can take, and only columns that become coarser; who is a child is told by the
    column as it is. Where `decide` denies, this says nothing that may be relied on.
    """
    found: dict[tuple[str, str], tuple[Generalisation, ...]] = {}
    for use in request.uses:
        column = _column(request.contract, use)
        if column is not None:
            steps = (rule.to and rule.to.for_type(column.type) for rule in coarsening(policy.rules, _facts(policy, request, use, column)))
            kept = list(found.get((use.table, use.column), ()))
            for step in steps:
                kept += [step] if step and step not in kept else []
            found |= {(use.table, use.column): tuple(kept)} if kept else {}
    return found


def for_admission(policy: Policy, request: Request) -> Policy:
    """The policy as admission must read it for this request: it has no basis for people where the request is denied.

    `decide` answers for the contract's jurisdiction, but each person is admitted under their own. So this decides wherever
    bases, rules or children are told apart, and elsewhere (`default`); whoever lives where the answer is no, or where columns
    must become coarser than this request reads them, has NO_BASIS. The same for the fairness purpose, with what is read for it.
    `children` stay by jurisdiction.
    """
    asked = {request.purpose: tuple(use for use in request.uses if not use.fairness)}
    if policy.fairness and len(asked[request.purpose]) < len(request.uses):
        asked[policy.fairness.purpose] = request.uses
    held = {
        name: _where_allowed(policy, policy.purposes[name], replace(request, uses=uses))
        for name, uses in asked.items()
        if name in policy.purposes
    }
    return policy.model_copy(update={"purposes": policy.purposes | held})


def places(policy: Policy) -> set[str]:
    """Wherever the policy tells people apart by where they live; everybody else is of `default`."""
    by_basis = (place for purpose in policy.purposes.values() for place in purpose.basis)
    by_rule = (place for rule in policy.rules for place in rule.jurisdictions or ())
    return {plain(place) for place in (DEFAULT, *by_basis, *by_rule, *policy.children)}


def _where_allowed(policy: Policy, purpose: Purpose, request: Request) -> Purpose:
    """The purpose itself where no place is denied, so that the policy keeps its digest."""
    told = sorted(places(policy) | {plain(request.contract.jurisdiction)})
    held = {place: purpose.basis_in(place) if _allowed(policy, request, place) else None for place in told}
    if all(held[place] is not None or purpose.basis_in(place) is None for place in told):
        return purpose
    return purpose.model_copy(update={"basis": held})


def _allowed(policy: Policy, request: Request, place: str) -> bool:
    """Whether people of `place` may be among those of the request."""
    there = replace(request, contract=request.contract.model_copy(update={"jurisdiction": place}))
    read_as = generalisations(policy, request)
    as_coarse = all(set(steps) <= set(read_as.get(column, ())) for column, steps in generalisations(policy, there).items())
    return as_coarse and isinstance(decide(policy, there), Allow)


def nearest_miss(policy: Policy, request: Request, use: Use) -> str | None:
    """The rule that came nearest to turning the verdict on `use`, and what it lacks; None where there is none to turn it."""
    column = _column(request.contract, use)
    if column is None:
        return None
    return columns.nearest_miss(policy.rules, _facts(policy, request, use, column))


def _verdict(findings: tuple[Finding, ...]) -> Allow | Deny:
    blocks = tuple(finding for finding in findings if finding.blocks)
    return Deny(blocks) if blocks else Allow(findings)


def _guarded(policy: Policy, subject: str, found_by: Callable[[str], Iterable[Finding]], digest: str | None = None) -> tuple[Finding, ...]:
    """An error while deciding is a finding that denies; `found_by` is given the policy's digest, and must find something."""
    try:
        digest = digest or _digest(policy)
        if found := tuple(found_by(digest)):
            return found
        condition = "nothing was found, neither for nor against"
    except Exception as error:  # noqa: BLE001  whatever it is, it must not become a yes
        condition = f"`{type(error).__name__}` while deciding"
    reason, remedy = "what cannot be decided is denied", "check contract and policy, or report a bug"
    return (Finding(Cause.ERROR, subject, NO_RULE, digest or NO_RULE, reason, condition, remedy=remedy),)


def _digest(policy: Policy) -> str:
    if policy.extends:
        raise ValueError("the packs that the policy extends are not laid under it")
    return policy.digest()


# -- purposes ---------------------------------------------------------------------------------------------------------


def _purposes(policy: Policy, request: Request, digest: str) -> Iterator[Finding]:
    yield _basis(policy, request.purpose, request.contract.jurisdiction, digest)
    yield from _unassessed(policy, request.purpose, digest)
    yield _budget(policy, request, digest)
    yield from _without_privacy(policy, request, digest)
    yield from _children(policy, request.contract, digest)
    if policy.fairness and any(use.fairness for use in request.uses):
        yield _basis(policy, policy.fairness.purpose, request.contract.jurisdiction, digest)
        yield from _unassessed(policy, policy.fairness.purpose, digest)


def _basis(policy: Policy, name: str, jurisdiction: str, digest: str) -> Finding:
    purpose: Purpose | None = policy.purposes.get(name)
    if purpose is None:
        condition = f"the policy's purposes are {names(policy.purposes)}, got `{name}`{_perhaps(name, policy.purposes)}"
        remedy = f"name one of these purposes, or ask whoever keeps policy `{policy.name}` to add this one"
        return Finding(Cause.GAP, name, NO_RULE, digest, "the policy does not know this purpose", condition, remedy=remedy)
    basis = purpose.basis_in(jurisdiction)
    if basis is None:
        given = names(place for place, said in purpose.basis.items() if said)
        condition = f"legal bases are given for {given}, got jurisdiction `{jurisdiction}`"
        remedy = f"ask whoever keeps policy `{policy.name}` whether `{name}` has a legal basis in `{jurisdiction}`"
        return Finding(Cause.NO_PERMIT, name, NO_RULE, digest, "no legal basis in this jurisdiction", condition, remedy=remedy)
    silence = "a yes is needed" if basis.opt_in else "silence is a yes after notice"
    condition = f"legal basis `{basis}` in `{jurisdiction}`: {silence}"
    return Finding(Cause.PERMIT, name, NO_RULE, digest, purpose.description or "a purpose of the policy", condition)


def _unassessed(policy: Policy, name: str, digest: str) -> Iterator[Finding]:
    """Consent lent by another purpose needs somebody who looked whether the two are compatible."""
    for other, assessment in policy.purposes[name].compatible_with.items() if name in policy.purposes else ():
        if assessment is None:
            condition = f"`compatible_with` names `{other}` without `by` and `reason`"
            remedy = f"document the assessment in policy `{policy.name}`, or take `{other}` out of `compatible_with`"
            reason = "nobody assessed whether consent to the other purpose may serve this one"
            yield Finding(Cause.GAP, name, NO_RULE, digest, reason, condition, "GDPR art. 6(4)", remedy)


def _without_privacy(policy: Policy, request: Request, digest: str) -> Iterator[Finding]:
    """Exact results: for a purpose that somebody assessed for it, and for nobody outside."""
    if request.private:
        return
    purpose = policy.purposes.get(request.purpose)
    assessed = purpose.unsafe_without_privacy if purpose else None
    if assessed:
        yield Finding(Cause.PERMIT, request.purpose, NO_RULE, digest, assessed.reason, f"assessed by {assessed.by}", assessed.legal)
    else:
        condition = f"`purposes.{request.purpose}.unsafe_without_privacy` of policy `{policy.name}` says who assessed that it may, got none"
        reason, remedy = "segments for this purpose have differential privacy", "ask for an `epsilon` under `privacy`"
        yield Finding(Cause.NO_PERMIT, request.purpose, NO_RULE, digest, reason, condition, remedy=remedy)
    if request.destination is not None:
        reason = "what was learned without differential privacy goes to nobody"
        condition = f"`privacy: none` and no destination, got `{request.destination}`"
        remedy = "take `destination` out, or ask for an `epsilon` under `privacy`"
        yield Finding(Cause.FORBID, request.destination, INSIDE, digest, reason, condition, remedy=remedy)


def _children(policy: Policy, contract: Contract, digest: str) -> Iterator[Finding]:
    """Where the policy insists on knowing who is a child, the contract must say."""
    children = policy.children_in(contract.jurisdiction)
    if children and children.unknown is Unknown.REFUSE and contract.subject.told_by is None:
        condition = f"contract `{contract.name}` has neither `subject.born` nor `subject.child`"
        remedy = "name the column with the date of birth, or the one that marks children, in the contract"
        reason = f"who is below {children.age} must be known in `{contract.jurisdiction}`"
        yield Finding(Cause.GAP, contract.name, NO_RULE, digest, reason, condition, remedy=remedy)


def _budget(policy: Policy, request: Request, digest: str) -> Finding:
    allowance = policy.budgets.purposes.get(request.purpose)
    if allowance is None:
        condition = f"budgets are allotted to {names(policy.budgets.purposes)}, got `{request.purpose}`"
        remedy = f"ask whoever keeps policy `{policy.name}` to allot a part of the cap to it under `budgets.purposes`"
        return Finding(Cause.NO_PERMIT, request.purpose, NO_RULE, digest, "no privacy budget for this purpose", condition, remedy=remedy)
    approvals = policy.approvals.needed(request.model)
    condition = f"ε {allowance.epsilon:g} at δ {allowance.delta:g} ({allowance.period}); approvals before release: {approvals}"
    return Finding(Cause.PERMIT, request.purpose, NO_RULE, digest, "a privacy budget is allotted", condition)


# -- columns ----------------------------------------------------------------------------------------------------------


def _use(policy: Policy, request: Request, use: Use, digest: str) -> Iterator[Finding]:
    column = _column(request.contract, use)
    if column is None:
        yield _not_in_contract(request.contract, use, digest)
    elif not known(Vocabulary.CATEGORY, column.category):
        condition = f"`{column.category}` is no data category of fideslang; needed by {names(use.needed_by)}"
        remedy = f"give the column a category of fideslang in contract `{request.contract.name}`"
        yield Finding(Cause.GAP, use.name, NO_RULE, digest, "the contract does not say what this column is", condition, remedy=remedy)
    elif use.fairness and policy.fairness is None:
        condition = f"the policy has no `fairness`; needed by {names(use.needed_by)}"
        remedy = f"drop the attribute, or ask whoever keeps policy `{policy.name}` for a fairness purpose"
        yield Finding(Cause.GAP, use.name, NO_RULE, digest, "no purpose to read fairness attributes for", condition, remedy=remedy)
    else:
        table = request.contract.tables[use.table]
        key = not table.reference and use.column == request.contract.key_of(use.table)
        asked = Asked(use.name, use.needed_by, use.why, key, policy.name, digest)
        yield from judged(policy.rules, _facts(policy, request, use, column), asked)


def _column(contract: Contract, use: Use) -> Column | None:
    return contract.tables[use.table].columns.get(use.column) if use.table in contract.tables else None


def _facts(policy: Policy, request: Request, use: Use, column: Column) -> Facts:
    """What rules look at. Only what a segment is made of is handed to its destination."""
    name = policy.fairness.purpose if use.fairness and policy.fairness else request.purpose
    purpose, home = policy.purposes.get(name), request.contract.jurisdiction
    recipient: Recipient | None = None
    transfer: Transfer | None = None
    if use.reading is Reading.SEGMENT and request.destination is not None:
        known_one = policy.destinations.get(request.destination)
        recipient = known_one.kind if known_one else Recipient.THIRD_PARTY
        transfer = known_one.transfer(home) if known_one else Transfer.NONE
    basis = purpose.basis_in(home) if purpose else None
    lenders = tuple(purpose.compatible_with) if purpose else ()
    return Facts(column, use.reading, name, basis, home, lenders, recipient, transfer)


def _not_in_contract(contract: Contract, use: Use, digest: str) -> Finding:
    table = contract.tables.get(use.table)
    kind, word, others = ("table", use.table, list(contract.tables)) if table is None else ("column", use.column, list(table.columns))
    condition = f"no {kind} `{word}` there{_perhaps(word, others)}; needed by {names(use.needed_by)}"
    remedy = f"correct the name, or describe the {kind} in contract `{contract.name}`"
    return Finding(Cause.GAP, use.name, NO_RULE, digest, f"contract `{contract.name}` does not describe it", condition, remedy=remedy)


# -- destinations -----------------------------------------------------------------------------------------------------


def _destination(policy: Policy, destination: str | None, digest: str) -> Iterator[Finding]:
    if destination is None:
        yield Finding(Cause.PERMIT, "workspace", NO_RULE, digest, "the release stays in the workspace", "no destination is named")
    elif destination in policy.destinations:
        yield Finding(
            Cause.PERMIT, destination, NO_RULE, digest, policy.destinations[destination].description, "a destination of the policy"
        )
    else:
        condition = f"the policy's destinations are {names(policy.destinations)}, got `{destination}`"
        condition += _perhaps(destination, policy.destinations)
        remedy = f"name one of these, or ask whoever keeps policy `{policy.name}` to add it under `destinations`"
        yield Finding(Cause.NO_PERMIT, destination, NO_RULE, digest, "the policy does not know this destination", condition, remedy=remedy)


# -- words ------------------------------------------------------------------------------------------------------------


def _perhaps(word: str, others: Iterable[str]) -> str:
    close = nearest(word, others)
    return f" (did you mean `{close}`?)" if close else ""
