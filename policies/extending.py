"""A policy laid over packs: rules add up and deny wins; of two figures the stricter one counts. No word of a policy weakens a pack.

The result is a policy as any other, `extends` emptied, so that its digest covers every word of the packs.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from functools import reduce
from typing import Any, TypeVar

from policies.jurisdictions import plain, said_in
from policies.pack import Limit, Pack
from policies.policy import MODELS, Approvals, Budgets, Children, FairnessGate, Outcome, Policy, Retention, Treatment, Unknown

_STRICTER = {Outcome.ALLOW: 0, Outcome.APPROVE: 1, Outcome.REFUSE: 2}

Figure = TypeVar("Figure", float, dt.timedelta)


def extend(policy: Policy, packs: Iterable[Pack]) -> Policy:
    """The policy that holds; packs that it was laid over before change nothing. Raises ValueError where an id means two rules."""
    packs = tuple(packs)
    rules = (*policy.rules, *(rule for pack in packs for rule in pack.rules if rule not in policy.rules))
    limits = (limit for pack in packs for limit in pack.limits)
    bounded = reduce(_bounded, limits, dict(policy))
    return Policy.model_validate({**bounded, "rules": rules, "extends": ()})


def taken(policy: Policy, packs: Iterable[Pack]) -> Iterator[tuple[int, str, str]]:
    """Rules of a policy whose id a pack has as well: place, id, pack."""
    owners = {rule.id: pack.name for pack in packs for rule in pack.rules}
    return ((place, rule.id, owners[rule.id]) for place, rule in enumerate(policy.rules) if rule.id in owners)


def _bounded(figures: dict[str, Any], limit: Limit) -> dict[str, Any]:
    """The figures of a policy under one more limit."""
    changed: dict[str, Any] = {}
    if limit.cohort_floor is not None:
        changed["cohort_floor"] = max(figures["cohort_floor"], limit.cohort_floor)
    if limit.most_segments is not None:
        changed["most_segments"] = min(figures["most_segments"], limit.most_segments)
    if limit.children is not None:
        changed["children"] = _children(figures["children"], limit.children)
    if limit.retention is not None:
        kept: Retention = figures["retention"]
        changed["retention"] = kept.model_copy(update={name: _least(getattr(kept, name), bound) for name, bound in limit.retention})
    if limit.approvals is not None:
        changed["approvals"] = _approvals(figures["approvals"], limit.approvals)
    if limit.budgets is not None:
        changed["budgets"] = _budgets(figures["budgets"], limit)
    if limit.fairness is not None and figures["fairness"] is not None:
        changed["fairness"] = _fairness(figures["fairness"], limit)
    if limit.strict:
        changed["strict"] = True
    if limit.private:
        purposes = figures["purposes"].items()
        changed["purposes"] = {name: each.model_copy(update={"unsafe_without_privacy": None}) for name, each in purposes}
    return figures | changed


def _children(said: dict[str, Children], bound: dict[str, Children]) -> dict[str, Children]:
    """For every place that either names, the stricter of what holds there."""
    places = {plain(name) for name in (*said, *bound)}
    held = {place: [one for one in (said_in(said, place), said_in(bound, place)) if one] for place in sorted(places)}
    return {
        place: Children(
            age=max(one.age for one in found),
            treatment=max((one.treatment for one in found), key=list(Treatment).index),
            unknown=max((one.unknown for one in found), key=list(Unknown).index),
        )
        for place, found in held.items()
    }


def _approvals(said: Approvals, bound: Approvals) -> Approvals:
    """At least as many for every model as either asks for."""
    if not bound.required:
        return said
    models = [model for model in MODELS if said.needed(model) or bound.needed(model)]
    return Approvals.model_validate({"required": max(said.required, bound.required), "models": models})


def _budgets(said: Budgets, limit: Limit) -> Budgets:
    bound = limit.budgets
    assert bound is not None  # the caller looked
    cap = {"epsilon": _least(said.cap.epsilon, bound.epsilon), "delta": _least(said.cap.delta, bound.delta)}
    purposes = {
        name: each.model_copy(update={"epsilon": _least(each.epsilon, bound.purpose_epsilon), "delta": _least(each.delta, bound.delta)})
        for name, each in said.purposes.items()
    }
    interval = said.snapshot.interval if bound.interval is None else max(said.snapshot.interval, bound.interval)
    snapshot = said.snapshot.model_copy(update={"interval": interval})
    return said.model_copy(update={"cap": said.cap.model_copy(update=cap), "purposes": purposes, "snapshot": snapshot})


def _fairness(said: FairnessGate, limit: Limit) -> FairnessGate:
    bound = limit.fairness
    assert bound is not None  # the caller looked
    changed: dict[str, Any] = {"max_gap": _least(said.max_gap, bound.max_gap)}
    if bound.min_ratio is not None:
        changed["min_ratio"] = max(said.min_ratio, bound.min_ratio)
    for name in ("on_fail", "on_inconclusive"):
        outcomes = [one for one in (getattr(said, name), getattr(bound, name)) if one is not None]
        changed[name] = max(outcomes, key=lambda outcome: _STRICTER[outcome])
    return said.model_copy(update=changed)


def _least(value: Figure, bound: Figure | None) -> Figure:
    return value if bound is None else min(value, bound)
