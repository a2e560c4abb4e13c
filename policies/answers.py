"""What a policy answered to one check, against what was expected: the first difference, in words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from policies.bases import Basis, Ground
from policies.decisions import Cause, Finding
from policies.expectations import Answer, Expected
from policies.generalisation import Generalisation


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided about one column: rules that block and why, rules that permit, basis, grounds, and how coarse it becomes."""

    blocks: tuple[tuple[str, Cause], ...]
    permits: frozenset[str]
    basis: Basis | None
    grounds: frozenset[Ground]
    to: tuple[Generalisation, ...]

    @classmethod
    def of(cls, found: Iterable[Finding], name: str, basis: Basis | None, steps: Iterable[Generalisation | None]) -> Verdict:
        """From every finding about the column `name` and its purpose, and the steps of the rules that make it coarser."""
        found = tuple(found)
        permits = [one for one in found if one.cause is Cause.PERMIT and one.subject == name]
        kept: list[Generalisation] = []
        for step in steps:
            kept += [step] if step and step not in kept else []
        return cls(
            tuple((one.rule, one.cause) for one in found if one.blocks),
            frozenset(one.rule for one in permits),
            basis,
            frozenset(one.ground for one in permits if one.ground),
            tuple(kept),
        )


def unexpected(expected: Expected, verdict: Verdict) -> str | None:
    """What differs from what was expected, as got and expected; None: nothing."""
    answer = Answer.DENY if verdict.blocks else Answer.ALLOW
    rules = {rule for rule, _ in verdict.blocks} if verdict.blocks else verdict.permits
    if answer is not expected.answer:
        return f"got {_said(answer, rules)}, expected {_said(expected.answer, expected.rule or ())}"
    compared: tuple[tuple[str, object, object], ...] = (
        ("rule", set(rules), expected.rule if expected.rule is None else set(expected.rule)),
        ("cause", {cause for _, cause in verdict.blocks}, expected.cause and {expected.cause}),
        ("basis", {verdict.basis}, expected.basis and {expected.basis}),
        ("ground", set(verdict.grounds), expected.ground if expected.ground is None else set(expected.ground)),
    )
    for what, got, wanted in compared:
        if wanted is not None and got != wanted:
            return f"{what}: got {shown(got)}, expected {shown(wanted)}"
    if expected.steps is not None and verdict.to != expected.steps:
        return f"to: got {_steps(verdict.to)}, expected {_steps(expected.steps)}"
    return None


def _said(answer: Answer, rules: Iterable[str]) -> str:
    return f"{answer}" + (f" ({', '.join(sorted(rules))})" if rules else "")


def shown(values: object) -> str:
    return ", ".join(sorted(f"`{value}`" for value in values)) if isinstance(values, set) and values else "none"


def _steps(steps: Iterable[Generalisation]) -> str:
    return "; then ".join(step.words() for step in steps) or "as it is"
