"""One column, judged by rules: permits, or every rule that blocks, or the silence that denies; and how coarse it becomes.

Deny wins, and the order of rules means nothing: findings come by the rules' ids. Whether the purpose itself may go ahead,
and which column is meant, `policies.deciding` finds out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from policies.decisions import Cause, Finding
from policies.matching import Facts, forbids, lacks, missed, names, shared, takes
from policies.rules import SENSITIVE, Effect, Reading, Rule

NO_RULE = "-"
"""Stands where a finding rests on no rule."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What findings about a column repeat: its name, who needs it and why, whether it is a subject key, and policy and digest."""

    name: str
    needed_by: tuple[str, ...]
    why: str | None = None
    key: bool = False
    policy: str = NO_RULE
    digest: str = NO_RULE


def coarsening(rules: Iterable[Rule], facts: Facts) -> list[Rule]:
    """Rules that make the column coarser, by id. Who is a child is told by the column as it is."""
    if facts.reading is Reading.ADMISSION:
        return []
    return sorted((rule for rule in rules if rule.effect is Effect.GENERALISE and takes(rule, facts)), key=lambda rule: rule.id)


def judged(rules: Iterable[Rule], facts: Facts, asked: Asked) -> Iterator[Finding]:
    """Every finding about one column, at least one."""
    rules = sorted(rules, key=lambda rule: rule.id)
    permitting = [rule for rule in rules if rule.effect.permits and not lacks(rule, facts)]
    grounds = {rule.ground for rule in permitting if rule.ground and facts.sensitivity == SENSITIVE}
    if forbidding := [rule for rule in rules if forbids(rule, facts, grounds)]:
        yield from (_forbidden(rule, facts, asked) for rule in forbidding)
        return
    if not permitting:
        yield _no_permit(rules, facts, asked)
        return
    for rule in permitting:
        ground = rule.ground if facts.sensitivity == SENSITIVE else None
        resting = f"; ground: {ground} ({ground.article})" if ground else ""
        condition = _condition(facts, asked) + resting + (f": {asked.why}" if asked.why else "")
        yield Finding(Cause.PERMIT, asked.name, rule.id, asked.digest, rule.reason, condition, rule.legal, ground=ground)
    yield from (_generalised(rule, facts, asked) for rule in coarsening(rules, facts))


def _condition(facts: Facts, asked: Asked) -> str:
    return f"`{facts.column.category}` ({facts.sensitivity}) for `{facts.purpose}`, needed by {names(asked.needed_by)}"


def _forbidden(rule: Rule, facts: Facts, asked: Asked) -> Finding:
    if rule.effect is Effect.FAIRNESS_ONLY:
        remedy = f"drop it from {names(asked.needed_by)}; `fairness` of the segment may read it for the audit"
    else:
        remedy = f"drop it from {names(asked.needed_by)}, or ask whoever keeps policy `{asked.policy}` about rule `{rule.id}`"
    condition = _condition(facts, asked) + _circumstances(rule, facts)
    return Finding(Cause.FORBID, asked.name, rule.id, asked.digest, rule.reason, condition, rule.legal, rule.remedy or remedy)


def _circumstances(rule: Rule, facts: Facts) -> str:
    """The conditions beside category and purpose that made a rule speak."""
    said = (
        (rule.jurisdictions, f"in `{facts.jurisdiction}`"),
        (rule.bases, f"on the basis `{facts.basis}`"),
        (rule.recipients, f"handed to a recipient of kind `{facts.recipient}`"),
        (rule.transfers, f"safeguard of the transfer: `{facts.transfer}`"),
        (rule.grounds, f"permitted on the ground of {names(rule.grounds or ())}"),
    )
    return "".join(f"; {words}" for condition, words in said if condition is not None)


def _generalised(rule: Rule, facts: Facts, asked: Asked) -> Finding:
    """The obligation, or a block where the column cannot meet it."""
    column = facts.column
    steps = rule.to and rule.to.for_type(column.type)
    wanted = rule.to.words() if rule.to else "nothing"
    if asked.key:
        condition, remedy = "a subject key that is made coarser would take people for one another", "give the key a category of its own"
    elif steps is None:
        condition, remedy = (
            f"a column of type `{column.type}` cannot take the steps: {wanted}",
            "give the column a type that can, or drop it",
        )
    else:
        condition = f"`{column.category}` for `{facts.purpose}` is read as: {steps.words()}"
        return Finding(Cause.GENERALISE, asked.name, rule.id, asked.digest, rule.reason, condition, rule.legal)
    return Finding(Cause.FORBID, asked.name, rule.id, asked.digest, rule.reason, condition, rule.legal, rule.remedy or remedy)


def _no_permit(rules: Iterable[Rule], facts: Facts, asked: Asked) -> Finding:
    """Silence denies; the rule that came nearest is named."""
    hopes = [(rule, lacks(rule, facts)) for rule in rules if rule.effect.permits]
    near = _nearest(hopes, facts.column.category)
    condition = _condition(facts, asked) + (f"; nearest rule `{near[0].id}`: {'; '.join(near[1])}" if near else "")
    remedy = f"drop it from {names(asked.needed_by)}, or ask whoever keeps policy `{asked.policy}` for a rule that permits it"
    return Finding(Cause.NO_PERMIT, asked.name, NO_RULE, asked.digest, "no rule permits it, and silence denies", condition, remedy=remedy)


def _nearest(rules: Iterable[tuple[Rule, tuple[str, ...]]], category: str) -> tuple[Rule, tuple[str, ...]] | None:
    """The rule with the fewest failing conditions; of equals, the one with the closest category."""
    return min(rules, key=lambda pair: (len(pair[1]), -shared(pair[0], category), pair[0].id), default=None)


def nearest_miss(rules: Iterable[Rule], facts: Facts) -> str | None:
    """The rule that came nearest to turning the verdict, and what it lacks; None where there is none to turn it."""
    rules = tuple(rules)
    hopes = [(rule, lacks(rule, facts)) for rule in rules if rule.effect.permits]
    if any(not why for _, why in hopes):
        threats = [(rule, missed(rule, facts)) for rule in rules if rule.effect is Effect.FORBID]
        hopes = [(rule, why or ("no permit rests on its grounds",)) for rule, why in threats]
    near = _nearest(hopes, facts.column.category)
    return near and f"nearest rule `{near[0].id}` ({near[0].effect}): {'; '.join(near[1])}"
