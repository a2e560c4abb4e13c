"""Run a test document against a policy or a pack: every combination of every case is one check, and so is every figure and reference.

Checks are prepared once and can be put to many versions of what they test, which is how `policies.mutants` are hunted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, Generic, TypeVar

from policies.answers import Verdict, shown, unexpected
from policies.bases import Basis, Ground
from policies.columns import Asked, coarsening, judged
from policies.contract import Column, Contract
from policies.deciding import Request, Use, decide_destination, generalisations, judge
from policies.documents import Document
from policies.expectations import Case, Figures, PolicyTest, Vary
from policies.extending import extend
from policies.matching import Facts, acts
from policies.mutants import Mutant
from policies.pack import Limit, Pack
from policies.policy import Policy
from policies.rules import Reading, Recipient, Rule, Transfer
from policies.taxonomy import Vocabulary, covers, keys

Tested = TypeVar("Tested", Policy, Pack)


@dataclass(frozen=True, slots=True)
class Check(Generic[Tested]):
    """One question: which case and combination asks it, which rules it is about, and what is wrong with an answer, if anything.

    `facts`: what the answer depends on besides rules, where it depends on nothing else.
    """

    case: str
    about: str
    rules: frozenset[str]
    wrong: Callable[[Tested], str | None]
    facts: Facts | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A check that failed: where, and what was said instead."""

    case: str
    about: str
    what: str


def run(checks: tuple[Check[Tested], ...], tested: Tested) -> tuple[Failure, ...]:
    """The checks that fail."""
    return tuple(Failure(check.case, check.about, what) for check in checks if (what := check.wrong(tested)))


def pack_checks(test: PolicyTest) -> tuple[Check[Pack], ...]:
    """The checks of a pack's test document."""
    checks = [_pack_check(case, facts, ground) for case in test.cases for facts, ground in _given(case, case.vary or test.vary)]
    if test.figures:
        checks += _figure_checks(test.figures, lambda pack: extend(open_house(), (pack,)))
    checks += [_reference(rule, text, lambda pack: (*pack.rules, *pack.limits)) for rule, text in test.references.items()]
    return tuple(checks)


def policy_checks(test: PolicyTest, contract: Contract | None) -> tuple[Check[Policy], ...]:
    """The checks of a policy's test document; `contract`: the one that its cases are about."""
    checks = [_policy_check(case, asked) for case in test.cases for asked in _asked(case, case.vary or test.vary, contract)]
    if test.figures:
        checks += _figure_checks(test.figures, lambda policy: policy)
    checks += [_reference(rule, text, lambda policy: policy.rules) for rule, text in test.references.items()]
    return tuple(checks)


def hunt(checks: Sequence[Check[Tested]], mutants: Iterable[Mutant[Tested]]) -> Iterator[tuple[Mutant[Tested], bool]]:
    """Each mutant, and whether one of the checks, which all hold for what was mutated, fails for it.

    A rule that acts on the facts of a check as it did leads to the verdict that was found right, so the check is not asked.
    """
    asked: tuple[str, list[tuple[Check[Tested], object]]] = ("", [])
    for mutant in mutants:
        if mutant.rule != asked[0]:
            near_first = sorted(checks, key=lambda check: mutant.rule not in check.rules)
            asked = (mutant.rule, [(check, _acts(mutant.before, check.facts)) for check in near_first])
        yield (
            mutant,
            any(
                check.wrong(mutant.mutated) is not None
                for check, before in asked[1]
                if check.facts is None or _acts(mutant.after, check.facts) != before
            ),
        )


def _acts(rule: Rule | None, facts: Facts | None) -> object:
    return acts(rule, facts) if rule and facts else None


# -- packs ------------------------------------------------------------------------------------------------------------


def _given(case: Case, vary: Vary) -> Iterator[tuple[Facts, Ground]]:
    """The questions of a pack's case."""
    nobody: tuple[Recipient | None, ...] = (None,)
    for category, sensitivity, type_, use, purpose, basis, place, recipient, transfer, ground in _combined(
        vary,
        _expanded(case.category, case.without, Vocabulary.CATEGORY),
        case.sensitivity,
        case.type,
        case.use,
        _expanded(case.purpose, case.without, Vocabulary.USE),
        case.basis or (Basis.CONSENT,),
        case.jurisdiction or ("eu",),
        case.recipient or nobody,
        (case.transfer or (Transfer.WITHIN,)) if case.recipient else (None,),
        case.ground or (Ground.EXPLICIT_CONSENT,),
    ):
        column = Column(category=category, sensitivity=sensitivity, type=type_)
        yield Facts(column, use, purpose, basis, place, (), recipient, transfer), ground


def _pack_check(case: Case, facts: Facts, ground: Ground) -> Check[Pack]:
    house, asked = _house(ground), Asked("column", ("the test",))

    def wrong(pack: Pack) -> str | None:
        rules = (house, *pack.rules)
        found = tuple(judged(rules, facts, asked))
        steps = [rule.to.for_type(facts.column.type) for rule in coarsening(rules, facts) if rule.to]
        return unexpected(case.expected, Verdict.of(found, asked.name, facts.basis, steps))

    column = facts.column
    told = (column.category, column.sensitivity, column.type, facts.reading, facts.purpose, facts.basis, facts.jurisdiction)
    about = " ".join(str(one) for one in (*told, facts.recipient, facts.transfer, ground) if one)
    return Check(case.name, about, frozenset(case.expected.rule or ()), wrong, facts)


@cache
def _house(ground: Ground) -> Rule:
    """Permits everything: what is denied nevertheless, the pack denies."""
    every = {"effect": "permit", "categories": ["*"], "sensitivity": ["plain", "pseudonymous", "sensitive"], "ground": ground}
    return Rule.model_validate({"id": "house", "reason": "a house that permits everything", **every})


@cache
def open_house() -> Policy:
    """A house that permits everything and asks for nothing: whatever is denied, or its figures are, under a pack, the pack says."""
    forever = {"releases": "9999y", "memberships": "9999y", "retrain": "9999y"}
    most = {"epsilon": 100, "delta": 1e-3}
    return Policy.model_validate(
        {
            "name": "house",
            "purposes": {"marketing": {"basis": {"default": "consent"}, "unsafe_without_privacy": {"by": "the house", "reason": "any"}}},
            "rules": [_house(Ground.EXPLICIT_CONSENT)],
            "budgets": {"cap": most, "purposes": {"marketing": most}, "snapshot": {"interval": "1h"}},
            "cohort_floor": 30,
            "most_segments": 30,
            "fairness": {"purpose": "marketing", "min_ratio": 0.01, "max_gap": 1, "on_fail": "allow", "on_inconclusive": "allow"},
            "approvals": {"required": 0},
            "retention": forever,
        }
    )


# -- policies ---------------------------------------------------------------------------------------------------------


def _asked(case: Case, vary: Vary, contract: Contract | None) -> Iterator[Request]:
    """The questions of a policy's case."""
    made = product(_expanded(case.category, case.without, Vocabulary.CATEGORY), case.sensitivity, case.type)
    columns = [(_made_up(*one), "t.c") for one in made]
    if not case.category:
        about = contract or _made_up("user", "plain", "text")
        columns = [(about, name) for name in case.column or ("",)]
    home = contract or columns[0][0]
    for (where, name), use, purpose, destination, place in _combined(
        vary,
        columns,
        case.use,
        _expanded(case.purpose, case.without, Vocabulary.USE),
        case.destination or (None,),
        case.jurisdiction or (home.jurisdiction,),
    ):
        table, _, column = name.partition(".")
        uses = (Use(table, column, ("the test",), None, use is Reading.FAIRNESS, use is Reading.ADMISSION),) if name else ()
        there = where.model_copy(update={"jurisdiction": place})
        yield Request(purpose, there, uses, case.model, destination, private=case.privacy is None)


def _made_up(category: str, sensitivity: str, type_: str) -> Contract:
    """A contract with one column, `t.c`."""
    columns = {"id": {"category": "user.unique_id"}, "c": {"category": category, "sensitivity": sensitivity, "type": type_}}
    subject = {"key": "id", "namespace": "n", "registered_in": "t", "born": None}
    table = {"source": "t.parquet", "columns": columns}
    return Contract.model_validate({"name": "made_up", "controller": "the test", "subject": subject, "tables": {"t": table}})


def _policy_check(case: Case, request: Request) -> Check[Policy]:
    use = request.uses[0] if request.uses else None

    def wrong(policy: Policy) -> str | None:
        found = judge(policy, request)
        if request.destination is not None:
            decided = decide_destination(policy, request.destination)
            found += tuple(finding for finding in decided.because if finding.blocks)
        purpose = policy.purposes.get(policy.fairness.purpose if use and use.fairness and policy.fairness else request.purpose)
        basis = purpose.basis_in(request.contract.jurisdiction) if purpose else None
        steps = generalisations(policy, request).get((use.table, use.column), ()) if use else ()
        name = use.name if use else request.purpose
        return unexpected(case.expected, Verdict.of(found, name, basis, steps))

    column = request.contract.tables[use.table].columns.get(use.column) if use and use.table in request.contract.tables else None
    told = (use and use.name, column and column.category, use and use.reading, request.purpose, request.contract.jurisdiction)
    about = " ".join(str(one) for one in (*told, request.destination) if one)
    return Check(case.name, about, frozenset(case.expected.rule or ()), wrong)


# -- figures ----------------------------------------------------------------------------------------------------------


def _figure_checks(figures: Figures, held: Callable[[Tested], Policy]) -> Iterator[Check[Tested]]:
    """One check a figure that is stated; `held` gives the policy whose figures they are."""
    return (_figure_check(name, wanted, held) for name, wanted in _flat(figures))


def _figure_check(name: tuple[str, ...], wanted: object, held: Callable[[Tested], Policy]) -> Check[Tested]:
    def wrong(tested: Tested) -> str | None:
        got = _figure(held(tested), name)
        return None if got == {wanted} else f"got {shown(got)}, expected `{wanted}`"

    return Check("figures", ".".join(name), frozenset(), wrong)


def _flat(figures: Figures) -> Iterator[tuple[tuple[str, ...], object]]:
    for section, value in figures:
        if isinstance(value, Document):
            yield from (((section, name), one) for name, one in value if one is not None)
        elif isinstance(value, dict):
            yield from (((section, name), one) for name, one in value.items())
        elif value is not None:
            yield (section,), value


def _figure(policy: Policy, name: tuple[str, ...]) -> set[object]:
    """The figure of a policy; several where a bound is for each of several."""
    match name:
        case ("children", place):
            return {policy.children_in(place)}
        case ("approvals", model):
            return {policy.approvals.needed(model)}
        case ("budgets", "epsilon"):
            return {policy.budgets.cap.epsilon}
        case ("budgets", "delta"):
            return {each.delta for each in (policy.budgets.cap, *policy.budgets.purposes.values())}
        case ("budgets", "purpose_epsilon"):
            return {each.epsilon for each in policy.budgets.purposes.values()}
        case ("budgets", "interval"):
            return {policy.budgets.snapshot.interval}
        case (section, field):
            return {getattr(getattr(policy, section), field, None)}
        case _:
            return {getattr(policy, name[0])}


def _reference(rule: str, text: str, listed: Callable[[Tested], Iterable[Rule | Limit]]) -> Check[Tested]:
    """Whether a rule or limit exists and stands on this article."""

    def wrong(tested: Tested) -> str | None:
        got = next((each.legal or "none" for each in listed(tested) if each.id == rule), "no such rule")
        return None if got == text else f"got `{got}`, expected `{text}`"

    return Check("references", rule, frozenset({rule}), wrong)


def _combined(vary: Vary, *lists: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """Every combination, or the first of each list and each other value by itself."""
    if vary is Vary.TOGETHER:
        yield from product(*lists)
    elif all(lists):
        first = tuple(values[0] for values in lists)
        yield first
        for place, values in enumerate(lists):
            yield from ((*first[:place], value, *first[place + 1 :]) for value in values[1:])


def _expanded(patterns: Iterable[str], without: Iterable[str], vocabulary: Vocabulary) -> tuple[str, ...]:
    """Keys that patterns stand for, less those of `without`; a key that is not fideslang's stands for itself."""
    every, without = sorted(keys(vocabulary)), tuple(without)
    found = [[pattern] if not pattern.endswith("*") else [key for key in every if covers(pattern, key)] for pattern in patterns]
    meant = dict.fromkeys(key for group in found for key in group)
    return tuple(key for key in meant if not any(covers(pattern, key) for pattern in without))
