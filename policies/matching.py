"""One rule against one column: does it speak, and if not, which of its conditions fail.

What takes away reaches below its keys; what permits covers what it names. A column counts as sensitive where its contract
says so and wherever its category is one of GDPR art. 9(1), or may hold one, whatever the contract says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from policies.bases import Basis, Ground
from policies.contract import Column
from policies.jurisdictions import within
from policies.rules import SENSITIVE, Effect, Reading, Recipient, Rule, Sensitivity, Transfer
from policies.taxonomy import ancestors, covers, reaches, special


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a rule looks at: a column, what it would be read for, on which basis, where, and who receives the result.

    `lenders`: purposes whose consent also serves this one. `recipient` and `transfer` are None where nothing is handed out.
    """

    column: Column
    reading: Reading
    purpose: str
    basis: Basis | None
    jurisdiction: str
    lenders: tuple[str, ...] = ()
    recipient: Recipient | None = None
    transfer: Transfer | None = None

    @property
    def sensitivity(self) -> Sensitivity:
        """The contract's word, or `sensitive` for a special category."""
        return SENSITIVE if special(self.column.category) else self.column.sensitivity


def takes(rule: Rule, facts: Facts) -> bool:
    """Whether a rule that forbids or generalises speaks of this; its `grounds` aside."""
    return next(_elsewhere(rule, facts), None) is None


def forbids(rule: Rule, facts: Facts, grounds: Collection[Ground]) -> bool:
    """Whether a rule forbids this, where permits rest on `grounds`.

    `fairness_only` forbids every use but the audit, on whichever basis and to whomever: those conditions narrow what it permits.
    """
    match rule.effect:
        case Effect.FORBID:
            return takes(rule, facts) and (rule.grounds is None or not set(rule.grounds).isdisjoint(grounds))
        case Effect.FAIRNESS_ONLY:
            of_this = any(reaches(pattern, facts.column.category) for pattern in rule.categories)
            return facts.reading is not Reading.FAIRNESS and of_this and not tuple(_of_others(rule, facts))
        case _:
            return False


def acts(rule: Rule, facts: Facts) -> tuple[object, ...] | None:
    """All that a rule adds to the verdict on this, None for nothing; rules that act alike lead to the same verdict."""
    match rule.effect:
        case Effect.PERMIT:
            return None if lacks(rule, facts) else (rule.effect, rule.ground)
        case Effect.FAIRNESS_ONLY:
            permits, denies = not lacks(rule, facts), forbids(rule, facts, ())
            return (rule.effect, rule.ground, permits, denies) if permits or denies else None
        case _:
            return (rule.effect, rule.grounds, rule.to) if takes(rule, facts) else None


def lacks(rule: Rule, facts: Facts) -> tuple[str, ...]:
    """Which conditions of a permit fail, in words; none: it permits."""
    return tuple(_lacking(rule, facts))


def missed(rule: Rule, facts: Facts) -> tuple[str, ...]:
    """Why a rule that forbids does not, in words."""
    return tuple(_elsewhere(rule, facts))


def shared(rule: Rule, category: str) -> int:
    """How many levels a rule's categories have in common with `category`, at best."""
    line = {category, *ancestors(category)}
    return max(len(line & {base, *ancestors(base)}) for base in (pattern.removesuffix(".*") for pattern in rule.categories))


def _lacking(rule: Rule, facts: Facts) -> Iterator[str]:
    if rule.effect is Effect.FAIRNESS_ONLY and facts.reading is not Reading.FAIRNESS:
        yield "it serves fairness alone"
    if not any(covers(pattern, facts.column.category) for pattern in rule.categories):
        yield f"it covers categories {names(rule.categories)}, got `{facts.column.category}`"
    if not any(covers(pattern, facts.purpose) for pattern in rule.purposes):
        yield f"it covers purposes {names(rule.purposes)}, got `{facts.purpose}`"
    yield from _unmet(rule, facts)
    if facts.sensitivity == SENSITIVE:
        yield from _groundless(rule, facts)


def _elsewhere(rule: Rule, facts: Facts) -> Iterator[str]:
    hits = covers if rule.exact else reaches
    if not any(hits(pattern, facts.column.category) for pattern in rule.categories):
        yield f"it is about categories {names(rule.categories)}, got `{facts.column.category}`"
    if not any(hits(pattern, facts.purpose) for pattern in rule.purposes):
        yield f"it is about purposes {names(rule.purposes)}, got `{facts.purpose}`"
    yield from _unmet(rule, facts)


def _unmet(rule: Rule, facts: Facts) -> Iterator[str]:
    """The conditions that all effects share."""
    yield from _of_others(rule, facts)
    conditions: tuple[tuple[str, Collection[str] | None, str | None], ...] = (
        ("uses", rule.uses, facts.reading),
        ("bases", rule.bases, facts.basis),
        ("recipients", rule.recipients, facts.recipient),
        ("transfers", rule.transfers, facts.transfer),
    )
    for name, wanted, got in conditions:
        if wanted is not None and got not in wanted:
            yield f"it covers {name} {names(wanted)}, got `{got or 'none'}`"


def _of_others(rule: Rule, facts: Facts) -> Iterator[str]:
    """Conditions about the column and its people, whatever becomes of it."""
    if rule.sensitivity is not None and facts.sensitivity not in rule.sensitivity:
        yield f"it covers sensitivity {names(rule.sensitivity)}, got `{facts.sensitivity}`"
    if rule.jurisdictions is not None and not within(facts.jurisdiction, rule.jurisdictions):
        yield f"it covers jurisdictions {names(rule.jurisdictions)}, got `{facts.jurisdiction}`"


def _groundless(rule: Rule, facts: Facts) -> Iterator[str]:
    """Why a permit does not carry a sensitive column. Explicit consent is a yes to this very purpose (GDPR art. 9(2)(a))."""
    if rule.sensitivity is None:
        yield f"it does not name the sensitivity `{SENSITIVE}`"
    elif rule.ground is Ground.EXPLICIT_CONSENT and not (facts.basis and facts.basis.opt_in):
        yield f"its ground `{rule.ground}` needs an opt-in basis in `{facts.jurisdiction}`, got `{facts.basis or 'none'}`"
    elif rule.ground is Ground.EXPLICIT_CONSENT and facts.lenders:
        yield f"its ground `{rule.ground}` needs consent to `{facts.purpose}` itself, and consent to {names(facts.lenders)} serves as well"
    elif rule.ground is None and SENSITIVE in rule.sensitivity:
        yield "it names no ground of GDPR art. 9(2)"


def names(words: Iterable[str]) -> str:
    """For messages."""
    return ", ".join(f"`{word}`" for word in sorted(words)) or "none"
