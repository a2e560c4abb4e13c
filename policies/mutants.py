"""Mutants of a pack or a policy: one small mistake each, to find out whether its tests would notice.

Every rule is dropped, turned round, widened, narrowed, loosened and tightened in each of its conditions; every figure moves a
step. A change that provably changes nothing is no mutant: which columns and purposes a pattern covers is compared over the
whole of fideslang, and places by what they are part of. Reasons and remedies are for people and stay.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from policies.bases import Basis, Ground
from policies.generalisation import Generalisation
from policies.jurisdictions import DEFAULT, plain, within
from policies.pack import Limit, Pack
from policies.policy import Policy, Purpose
from policies.rules import SENSITIVE, Destination, Effect, Reading, Recipient, Rule, Transfer
from policies.taxonomy import EVERYTHING, Vocabulary, covers, keys, reaches, special

Tested = TypeVar("Tested", Policy, Pack)

Model = TypeVar("Model", bound=BaseModel)

PLACES = ("eu", "uk", "us", "us-ca", "us-va", "ch", "br")
"""Jurisdictions that a mistake may add."""

_TRUNCATIONS = ("day", "week", "month", "quarter", "year")


@dataclass(frozen=True, slots=True)
class Mutant(Generic[Tested]):
    """What was changed, in which rule (`figures`: in none), the result, and the rule as it was and as it is, where it still is."""

    what: str
    rule: str
    mutated: Tested
    before: Rule | None = None
    after: Rule | None = None


def pack_mutants(pack: Pack) -> Iterator[Mutant[Pack]]:
    """Every mutant of a pack."""
    for what, rule, changed, rules in _listed(pack.rules, rule_changes):
        yield Mutant(what, rule.id, pack.model_copy(update={"rules": rules}), rule, changed)
    for what, limit, _, limits in _listed(pack.limits, _moved):
        yield Mutant(what, limit.id, pack.model_copy(update={"limits": limits}))


def policy_mutants(policy: Policy) -> Iterator[Mutant[Policy]]:
    """Every mutant of a policy as it holds, packs included."""
    for what, rule, changed, rules in _listed(policy.rules, rule_changes):
        yield Mutant(what, rule.id, policy.model_copy(update={"rules": rules}), rule, changed)
    for name in ("cohort_floor", "most_segments", "children", "retention", "approvals", "budgets", "fairness", "strict"):
        for what, value in _values(getattr(policy, name)):
            yield Mutant(f"{name}{what}", "figures", policy.model_copy(update={name: value}))
    for name, changes in (("purposes", _purposes(policy.purposes)), ("destinations", _destinations(policy.destinations))):
        for what, value in changes:
            yield Mutant(f"{name}.{what}", "figures", policy.model_copy(update={name: value}))


Listed = TypeVar("Listed", Rule, Limit)


def _listed(
    items: Sequence[Listed], changes: Callable[[Listed], Iterable[tuple[str, Listed]]]
) -> Iterator[tuple[str, Listed, Listed | None, tuple[Listed, ...]]]:
    """One item dropped or changed at a time: what, the item, what it became, and all items."""
    for item in items:
        yield "dropped", item, None, tuple(each for each in items if each is not item)
        for what, changed in changes(item):
            yield what, item, changed, tuple(changed if each is item else each for each in items)


# -- rules ------------------------------------------------------------------------------------------------------------


def rule_changes(rule: Rule) -> Iterator[tuple[str, Rule]]:
    """Every small mistake in one rule."""
    yield from _effects(rule)
    for field, vocabulary in (("categories", Vocabulary.CATEGORY), ("purposes", Vocabulary.USE)):
        if field == "categories" or rule.effect is not Effect.FAIRNESS_ONLY:
            for what, patterns in _patterns(rule, getattr(rule, field), vocabulary):
                yield f"{field}: {what}", rule.model_copy(update={field: patterns})
    if rule.effect in (Effect.FORBID, Effect.GENERALISE):
        turned = rule.model_copy(update={"exact": not rule.exact})
        if _all_covered(turned) != _all_covered(rule):
            yield f"exact: {turned.exact}".lower(), turned
    for field, members in _conditions(rule).items():
        seen = {_meant(getattr(rule, field), members, field)}
        for what, chosen in _chosen(getattr(rule, field), _CONDITIONS[field], optional=field in _OPTIONAL):
            if (meant := _meant(chosen, members, field)) not in seen:
                seen.add(meant)
                yield f"{field}: {what}", rule.model_copy(update={field: chosen})
    for what, places in _places(rule.jurisdictions):
        yield f"jurisdictions: {what}", rule.model_copy(update={"jurisdictions": places})
    if rule.ground is not None and SENSITIVE in (rule.sensitivity or ()):
        for ground in [each for each in Ground if each is not rule.ground]:
            yield f"ground: {ground}", rule.model_copy(update={"ground": ground})
    if rule.to is not None:
        for what, to in _steps(rule.to):
            yield f"to: {what}", rule.model_copy(update={"to": to})
    if rule.legal is not None:
        yield "legal reference removed", rule.model_copy(update={"legal": None})


_CONDITIONS: dict[str, Sequence[str]] = {
    "sensitivity": ("plain", "pseudonymous", SENSITIVE),
    "uses": tuple(Reading),
    "bases": tuple(Basis),
    "recipients": tuple(Recipient),
    "transfers": tuple(Transfer),
    "grounds": tuple(Ground),
}


def _conditions(rule: Rule) -> dict[str, Sequence[str]]:
    """The conditions that mean something in a rule, and those of their members that can be met with."""
    found = dict(_CONDITIONS)
    if rule.grounds or all(special(key) for key in _covered(rule, rule.categories, Vocabulary.CATEGORY)):
        found["sensitivity"] = (SENSITIVE,)  # only what is sensitive has a ground, and special categories are whatever anybody says
    if rule.effect is Effect.GENERALISE:
        found["uses"] = (Reading.SEGMENT, Reading.FAIRNESS)  # who is a child is told by the column as it is
    if rule.effect is not Effect.FORBID:
        del found["grounds"]
    return found


def _meant(chosen: Iterable[str] | None, members: Sequence[str], field: str) -> frozenset[str] | None:
    """Of a condition, what can be met with; None: what may not be there is not asked for."""
    if chosen is None:
        return None if field in _OPTIONAL else frozenset(members)
    return frozenset(chosen) & frozenset(members)


_OPTIONAL = frozenset({"recipients", "transfers", "grounds"})
"""Conditions about what may not be there at all, so that all members together are less than no condition."""


def _effects(rule: Rule) -> Iterator[tuple[str, Rule]]:
    """The effect turned round, with what the new one needs."""
    for effect in [each for each in Effect if each is not rule.effect]:
        if effect is Effect.GENERALISE or (effect is Effect.FAIRNESS_ONLY and _is_fairness_only(rule)):
            continue
        ground = (rule.ground or Ground.EXPLICIT_CONSENT) if effect.permits else None
        yield f"effect: {effect}", rule.model_copy(update={"effect": effect, "exact": False, "to": None, "grounds": None, "ground": ground})


def _is_fairness_only(rule: Rule) -> bool:
    """A forbid of every use but the audit, for any purpose, forbids what `fairness_only` does."""
    spares = rule.uses is not None and Reading.FAIRNESS not in rule.uses
    return rule.effect is Effect.FORBID and not rule.exact and spares and EVERYTHING in rule.purposes and rule.grounds is None


def _patterns(rule: Rule, patterns: tuple[str, ...], vocabulary: Vocabulary) -> Iterator[tuple[str, tuple[str, ...]]]:
    """One pattern dropped, widened to what is above it, or narrowed to all below it but one."""
    seen = {_covered(rule, patterns, vocabulary)}
    below_too = not (rule.exact or rule.effect.permits)
    for place, pattern in enumerate(patterns):
        others = patterns[:place] + patterns[place + 1 :]
        base = pattern.removesuffix(".*")
        inner = sorted(key for key in keys(vocabulary) if key.rpartition(".")[0] == ("" if pattern == EVERYTHING else base))
        parent = base.rpartition(".")[0]
        candidates = [(f"`{pattern}` dropped", others), (f"`{pattern}` widened", (*others, f"{parent}.*" if parent else EVERYTHING))]
        if pattern != base or pattern == EVERYTHING or below_too:
            candidates += [(f"`{pattern}` without `{lost}`", (*others, *(f"{key}.*" for key in inner if key != lost))) for lost in inner]
            candidates.append((f"`{pattern}` without itself", (*others, *(f"{key}.*" for key in inner))))
        for what, changed in candidates:
            covered = _covered(rule, changed, vocabulary)
            if changed and covered not in seen:
                seen.add(covered)
                yield what, changed


def _covered(rule: Rule, patterns: Iterable[str], vocabulary: Vocabulary) -> frozenset[str]:
    """Every key that patterns stand for in this rule."""
    hits = covers if rule.exact or rule.effect is Effect.PERMIT else reaches
    return frozenset(key for key in keys(vocabulary) if any(hits(pattern, key) for pattern in patterns))


def _all_covered(rule: Rule) -> tuple[frozenset[str], frozenset[str]]:
    return _covered(rule, rule.categories, Vocabulary.CATEGORY), _covered(rule, rule.purposes, Vocabulary.USE)


def _chosen(chosen: tuple[str, ...] | None, members: Sequence[str], *, optional: bool) -> Iterator[tuple[str, tuple[str, ...] | None]]:
    """A condition removed or added, one member taken out or put in."""
    if chosen is None:
        yield from ((f"only `{member}`", (member,)) for member in members)
        yield from ((f"not `{member}`", tuple(m for m in members if m != member)) for member in members if len(members) > 2)
        return
    full = set(chosen) == set(members)
    if optional or not full:
        yield "removed", None
    if len(chosen) > 1:
        yield from ((f"`{member}` taken out", tuple(m for m in chosen if m != member)) for member in chosen)
    yield from ((f"`{member}` put in", (*chosen, member)) for member in members if member not in chosen)


def _places(places: tuple[str, ...] | None) -> Iterator[tuple[str, tuple[str, ...] | None]]:
    if places is None:
        yield from ((f"only `{place}`", (place,)) for place in PLACES)
        return
    yield "removed", None
    if len(places) > 1:
        for place in places:
            others = tuple(p for p in places if p != place)
            if not within(place, others):
                yield f"`{place}` taken out", others
    yield from ((f"`{place}` put in", (*places, place)) for place in PLACES if not within(place, places))


# -- purposes and destinations ----------------------------------------------------------------------------------------


def _purposes(purposes: dict[str, Purpose]) -> Iterator[tuple[str, dict[str, Purpose]]]:
    """Another basis somewhere, or none; an assessment lost. What serves as well, no decision tells."""
    for name, purpose in purposes.items():
        yield f"{name} dropped", {key: value for key, value in purposes.items() if key != name}
        told = {*map(plain, purpose.basis), *PLACES, DEFAULT}
        seen = {_held(purpose, told)}
        for place in purpose.basis:
            changes: dict[str, dict[str, Basis | None]] = {
                "dropped": {key: value for key, value in purpose.basis.items() if key != place},
                **{str(basis or "none"): purpose.basis | {place: basis} for basis in (*Basis, None)},
            }
            for what, said in changes.items():
                changed = purpose.model_copy(update={"basis": said})
                if (held := _held(changed, told)) not in seen:
                    seen.add(held)
                    yield f"{name}.basis.{place}: {what}", purposes | {name: changed}
        for other in [other for other, assessed in purpose.compatible_with.items() if assessed]:
            changed = purpose.model_copy(update={"compatible_with": purpose.compatible_with | {other: None}})
            yield f"{name}.compatible_with.{other}: not assessed", purposes | {name: changed}
        if purpose.unsafe_without_privacy is not None:
            yield f"{name}.unsafe_without_privacy dropped", purposes | {name: purpose.model_copy(update={"unsafe_without_privacy": None})}


def _held(purpose: Purpose, places: Iterable[str]) -> tuple[tuple[str, Basis | None], ...]:
    """The basis in each place."""
    return tuple((place, purpose.basis_in(place)) for place in sorted(places))


def _destinations(destinations: dict[str, Destination]) -> Iterator[tuple[str, dict[str, Destination]]]:
    """Somebody else, somewhere else, with another safeguard."""
    for name, destination in destinations.items():
        yield f"{name} dropped", {key: value for key, value in destinations.items() if key != name}
        seen = {_handed(destination)}
        others: tuple[tuple[str, Iterable[str | None]], ...] = (
            ("kind", Recipient),
            ("jurisdiction", (None, *PLACES)),
            ("safeguard", (None, *(each for each in Transfer if each not in (Transfer.WITHIN, Transfer.NONE)))),
        )
        for field, values in others:
            for value in values:
                changed = destination.model_copy(update={field: value})
                if (handed := _handed(changed)) not in seen:
                    seen.add(handed)
                    yield f"{name}.{field}: {value or 'none'}", destinations | {name: changed}


def _handed(destination: Destination) -> tuple[Recipient, tuple[Transfer, ...]]:
    """Who receives, and what that is for people of each place."""
    return destination.kind, tuple(destination.transfer(place) for place in PLACES)


# -- figures ----------------------------------------------------------------------------------------------------------


def _moved(item: Model) -> Iterator[tuple[str, Model]]:
    """Every field of a document moved by one step; a field that is not said stays unsaid."""
    for name, value in item:
        if name in ("id", "reason") or value is None:
            continue
        if name == "legal":
            yield "legal reference removed", item.model_copy(update={name: None})
            continue
        for what, changed in _values(value):
            yield f"{name}{what}", item.model_copy(update={name: changed})


def _values(value: Any) -> Iterator[tuple[str, Any]]:
    """Values one step away."""
    match value:
        case bool():
            yield f": {not value}".lower(), not value
        case int():
            yield from ((f": {other}", other) for other in (value - 1, value + 1))
        case float() | Decimal():
            yield from ((f": {other:g}", other) for other in (value / 2, value / 2 * 3 if value > 1 else value / 8 * 9))
        case dt.timedelta():
            yield from ((f": {other}", other) for other in (value - dt.timedelta(hours=1), value + dt.timedelta(hours=1)))
        case StrEnum():
            yield from ((f": {other}", other) for other in type(value) if other is not value)
        case dict():
            for key, item in value.items():
                yield f".{key} dropped", {k: v for k, v in value.items() if k != key}
                yield from ((f".{key}{what}", value | {key: changed}) for what, changed in _values(item))
        case tuple():
            for item in value if len(value) > 1 else ():
                yield f" without {item}", tuple(other for other in value if other != item)
        case BaseModel():
            yield from ((f".{what}", changed) for what, changed in _moved(value))
        case _:
            return


def _steps(to: Generalisation) -> Iterator[tuple[str, Generalisation]]:
    """A step left out, where others remain, or another one of its kind."""
    said = {name: value for name, value in to if value is not None}
    for name, value in said.items():
        if len(said) > 1:
            yield f"`{name}` left out", to.model_copy(update={name: None})
        if name == "truncate":
            for other in [each for each in _TRUNCATIONS if each != value]:
                yield f"`{name}` {other}", to.model_copy(update={name: other})
        else:
            yield from ((f"`{name}`{what}", to.model_copy(update={name: changed})) for what, changed in _values(value))
