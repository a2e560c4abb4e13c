"""What a policy says to a request: is the purpose allowed, and which columns may be read for it.

Deny wins; a gap or an error counts as deny; what no rule permits is denied. Every finding is complete, and all of them
come at once. Pure: the same policy and request give the same findings, whatever the order of the rules. Which rows
may be read (consent) and who may act (roles, approvals) is the business of `governance`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from policies.contract import Column, Contract
from policies.decisions import Allow, Cause, Deny, Finding
from policies.policy import Effect, Policy, Purpose, Rule
from policies.taxonomy import Vocabulary, ancestors, covers, known, nearest, reaches

NO_RULE = "-"
"""Stands where a finding rests on no rule."""

SENSITIVE = "sensitive"
"""The sensitivity that a rule must name to permit it."""


@dataclass(frozen=True, slots=True)
class Use:
    """A column that would be read: by which features (or label, look-up, attribute), and why. `fairness`: for that audit alone."""

    table: str
    column: str
    needed_by: tuple[str, ...]
    why: str | None = None
    fairness: bool = False

    @property
    def name(self) -> str:
        """`table.column`, as findings name it."""
        return f"{self.table}.{self.column}"


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody wants to do: a segment of type `model` (`clusters` or `propensity`) for `purpose`, which reads `uses`."""

    purpose: str
    contract: Contract
    uses: tuple[Use, ...]
    model: str


def decide(policy: Policy, request: Request) -> Allow | Deny:
    """Allow with every permit, or Deny with every block. A fairness use is judged under the fairness purpose alone."""
    return _verdict(judge(policy, request))


def decide_destination(policy: Policy, destination: str | None) -> Allow | Deny:
    """Whether a release may be handed to `destination`; none: it stays in the workspace."""
    return _verdict(_guarded(policy, destination or "workspace", partial(_destination, policy, destination)))


def judge(policy: Policy, request: Request) -> tuple[Finding, ...]:
    """Every finding, permits beside blocks: the purposes first, then the columns in the request's order."""
    found = list(_guarded(policy, request.purpose, partial(_purposes, policy, request)))
    for use in request.uses:
        found += _guarded(policy, use.name, partial(_use, policy, request, use))
    return tuple(found)


def _verdict(findings: tuple[Finding, ...]) -> Allow | Deny:
    blocks = tuple(finding for finding in findings if finding.cause is not Cause.PERMIT)
    return Deny(blocks) if blocks else Allow(findings)


def _guarded(policy: Policy, subject: str, judged: Callable[[str], Iterable[Finding]]) -> tuple[Finding, ...]:
    """An error while deciding is a finding that denies; `judged` is given the policy's digest, and must find something."""
    digest = NO_RULE
    try:
        digest = policy.digest()
        if found := tuple(judged(digest)):
            return found
        condition = "nothing was found, neither for nor against"
    except Exception as error:  # noqa: BLE001  whatever it is, it must not become a yes
        condition = f"`{type(error).__name__}` while deciding"
    reason = "what cannot be decided is denied"
    return (Finding(Cause.ERROR, subject, NO_RULE, digest, reason, condition, remedy="check contract and policy, or report a bug"),)


# -- purposes ---------------------------------------------------------------------------------------------------------


def _purposes(policy: Policy, request: Request, digest: str) -> Iterator[Finding]:
    yield _basis(policy, request.purpose, request.contract.jurisdiction, digest)
    yield _budget(policy, request, digest)
    if policy.fairness and any(use.fairness for use in request.uses):
        yield _basis(policy, policy.fairness.purpose, request.contract.jurisdiction, digest)


def _basis(policy: Policy, name: str, jurisdiction: str, digest: str) -> Finding:
    purpose: Purpose | None = policy.purposes.get(name)
    if purpose is None:
        condition = f"the policy's purposes are {_names(policy.purposes)}, got `{name}`{_perhaps(name, policy.purposes)}"
        remedy = f"name one of these purposes, or ask whoever keeps policy `{policy.name}` to add this one"
        return Finding(Cause.GAP, name, NO_RULE, digest, "the policy does not know this purpose", condition, remedy=remedy)
    basis = purpose.basis_in(jurisdiction)
    if basis is None:
        condition = f"legal bases are given for {_names(purpose.basis)}, got jurisdiction `{jurisdiction}`"
        remedy = f"ask whoever keeps policy `{policy.name}` whether `{name}` has a legal basis in `{jurisdiction}`"
        return Finding(Cause.NO_PERMIT, name, NO_RULE, digest, "no legal basis in this jurisdiction", condition, remedy=remedy)
    condition = f"legal basis `{basis}` in `{jurisdiction}`"
    return Finding(Cause.PERMIT, name, NO_RULE, digest, purpose.description or "a purpose of the policy", condition)


def _budget(policy: Policy, request: Request, digest: str) -> Finding:
    allowance = policy.budgets.purposes.get(request.purpose)
    if allowance is None:
        condition = f"budgets are allotted to {_names(policy.budgets.purposes)}, got `{request.purpose}`"
        remedy = f"ask whoever keeps policy `{policy.name}` to allot a part of the cap to it under `budgets.purposes`"
        return Finding(Cause.NO_PERMIT, request.purpose, NO_RULE, digest, "no privacy budget for this purpose", condition, remedy=remedy)
    approvals = policy.approvals.needed(request.model)
    condition = f"ε {allowance.epsilon:g} at δ {allowance.delta:g} ({allowance.period}); approvals before release: {approvals}"
    return Finding(Cause.PERMIT, request.purpose, NO_RULE, digest, "a privacy budget is allotted", condition)


# -- columns ----------------------------------------------------------------------------------------------------------


def _use(policy: Policy, request: Request, use: Use, digest: str) -> Iterator[Finding]:
    column = request.contract.tables[use.table].columns.get(use.column) if use.table in request.contract.tables else None
    if column is None:
        yield _not_in_contract(request.contract, use, digest)
    elif not known(Vocabulary.CATEGORY, column.category):
        condition = f"`{column.category}` is no data category of fideslang; needed by {_names(use.needed_by)}"
        remedy = f"give the column a category of fideslang in contract `{request.contract.name}`"
        yield Finding(Cause.GAP, use.name, NO_RULE, digest, "the contract does not say what this column is", condition, remedy=remedy)
    elif use.fairness and policy.fairness is None:
        condition = f"the policy has no `fairness`; needed by {_names(use.needed_by)}"
        remedy = f"drop the attribute, or ask whoever keeps policy `{policy.name}` for a fairness purpose"
        yield Finding(Cause.GAP, use.name, NO_RULE, digest, "no purpose to read fairness attributes for", condition, remedy=remedy)
    else:
        purpose = policy.fairness.purpose if use.fairness and policy.fairness else request.purpose
        yield from _column(policy, _Reading(use, column, purpose), digest)


@dataclass(frozen=True, slots=True)
class _Reading:
    """A column of the contract, and the purpose that it would be read for."""

    use: Use
    column: Column
    purpose: str


def _column(policy: Policy, reading: _Reading, digest: str) -> Iterator[Finding]:
    rules = sorted(policy.rules, key=lambda rule: rule.id)
    if forbidding := [rule for rule in rules if _forbids(rule, reading)]:
        yield from (_finding(policy, rule, reading, Cause.FORBID, digest) for rule in forbidding)
        return
    hopes = [rule for rule in rules if rule.effect is not Effect.FORBID]
    if permitting := [rule for rule in hopes if not _lacks(rule, reading)]:
        yield from (_finding(policy, rule, reading, Cause.PERMIT, digest) for rule in permitting)
        return
    yield _no_permit(policy, hopes, reading, digest)


def _forbids(rule: Rule, reading: _Reading) -> bool:
    """A forbid reaches below its keys; `fairness_only` forbids every use but fairness, whatever its purposes."""
    if rule.effect is Effect.PERMIT or (rule.sensitivity and reading.column.sensitivity not in rule.sensitivity):
        return False
    if not any(reaches(pattern, reading.column.category) for pattern in rule.categories):
        return False
    if rule.effect is Effect.FAIRNESS_ONLY:
        return not reading.use.fairness
    return any(reaches(pattern, reading.purpose) for pattern in rule.purposes)


def _lacks(rule: Rule, reading: _Reading) -> tuple[str, ...]:
    """Which conditions of a permit fail; none: it permits."""
    column, lacks = reading.column, []
    if rule.effect is Effect.FAIRNESS_ONLY and not reading.use.fairness:
        lacks.append("it serves fairness alone")
    if not any(covers(pattern, column.category) for pattern in rule.categories):
        lacks.append(f"it covers categories {_names(rule.categories)}, got `{column.category}`")
    if not any(covers(pattern, reading.purpose) for pattern in rule.purposes):
        lacks.append(f"it covers purposes {_names(rule.purposes)}, got `{reading.purpose}`")
    if rule.sensitivity is not None and column.sensitivity not in rule.sensitivity:
        lacks.append(f"it covers sensitivity {_names(rule.sensitivity)}, got `{column.sensitivity}`")
    if rule.sensitivity is None and column.sensitivity == SENSITIVE:
        lacks.append(f"it does not name the sensitivity `{SENSITIVE}`")
    return tuple(lacks)


def _finding(policy: Policy, rule: Rule, reading: _Reading, cause: Cause, digest: str) -> Finding:
    use = reading.use
    condition = f"`{reading.column.category}` ({reading.column.sensitivity}) for `{reading.purpose}`, needed by {_names(use.needed_by)}"
    if cause is Cause.PERMIT:
        condition += f": {use.why}" if use.why else ""
        return Finding(cause, use.name, rule.id, digest, rule.reason, condition, rule.legal)
    if rule.effect is Effect.FAIRNESS_ONLY:
        remedy = f"drop it from {_names(use.needed_by)}; `fairness` of the segment may read it for the audit"
    else:
        remedy = f"drop it from {_names(use.needed_by)}, or ask whoever keeps policy `{policy.name}` about rule `{rule.id}`"
    return Finding(cause, use.name, rule.id, digest, rule.reason, condition, rule.legal, rule.remedy or remedy)


def _no_permit(policy: Policy, hopes: list[Rule], reading: _Reading, digest: str) -> Finding:
    """Silence denies; the rule that came nearest is named."""
    use, category = reading.use, reading.column.category
    condition = f"`{category}` ({reading.column.sensitivity}) for `{reading.purpose}`, needed by {_names(use.needed_by)}"
    if hopes:
        rule = min(hopes, key=lambda rule: (len(_lacks(rule, reading)), -_shared(rule, category), rule.id))
        condition += f"; nearest rule `{rule.id}`: {'; '.join(_lacks(rule, reading))}"
    remedy = f"drop it from {_names(use.needed_by)}, or ask whoever keeps policy `{policy.name}` for a rule that permits it"
    return Finding(Cause.NO_PERMIT, use.name, NO_RULE, digest, "no rule permits it, and silence denies", condition, remedy=remedy)


def _shared(rule: Rule, category: str) -> int:
    """How many levels a rule's categories have in common with `category`, at best."""
    line = {category, *ancestors(category)}
    return max(len(line & {base, *ancestors(base)}) for base in (pattern.removesuffix(".*") for pattern in rule.categories))


def _not_in_contract(contract: Contract, use: Use, digest: str) -> Finding:
    table = contract.tables.get(use.table)
    kind, word, names = ("table", use.table, list(contract.tables)) if table is None else ("column", use.column, list(table.columns))
    condition = f"no {kind} `{word}` there{_perhaps(word, names)}; needed by {_names(use.needed_by)}"
    remedy = f"correct the name, or describe the {kind} in contract `{contract.name}`"
    return Finding(Cause.GAP, use.name, NO_RULE, digest, f"contract `{contract.name}` does not describe it", condition, remedy=remedy)


# -- destinations -----------------------------------------------------------------------------------------------------


def _destination(policy: Policy, destination: str | None, digest: str) -> Iterator[Finding]:
    if destination is None:
        yield Finding(Cause.PERMIT, "workspace", NO_RULE, digest, "the release stays in the workspace", "no destination is named")
    elif destination in policy.destinations:
        yield Finding(Cause.PERMIT, destination, NO_RULE, digest, policy.destinations[destination], "a destination of the policy")
    else:
        condition = f"the policy's destinations are {_names(policy.destinations)}, got `{destination}`"
        condition += _perhaps(destination, policy.destinations)
        remedy = f"name one of these, or ask whoever keeps policy `{policy.name}` to add it under `destinations`"
        yield Finding(Cause.NO_PERMIT, destination, NO_RULE, digest, "the policy does not know this destination", condition, remedy=remedy)


# -- words ------------------------------------------------------------------------------------------------------------


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names)) or "none"


def _perhaps(word: str, names: Iterable[str]) -> str:
    close = nearest(word, names)
    return f" (did you mean `{close}`?)" if close else ""
