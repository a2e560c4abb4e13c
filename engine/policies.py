"""What is done with policies as documents: check them, explain them, test them, hunt their mutants, and tell two of them apart.

No row is read. A pack that ships with Consentric is tested by its name, and compared by it where no policy of the workspace has
that name. It permits nothing by itself: set against a policy, it stands for that policy laid over it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.planning import DENIED, OK, decidable
from engine.prepared import uses_of
from engine.workspace import Workspace, WorkspaceError
from policies import mutants, reading, shipped, testing
from policies.comparing import Difference, compare
from policies.contract import Contract
from policies.deciding import Request, Use, decide, generalisations, judge, nearest_miss
from policies.decisions import Allow, Deny, Finding
from policies.documents import A_PLACE, one_of
from policies.expectations import PolicyTest
from policies.extending import extend
from policies.jurisdictions import known
from policies.mutants import Mutant
from policies.pack import Pack
from policies.parsing import DocumentError
from policies.policy import Policy
from policies.testing import Check, Failure, Tested

__all__ = ["DENIED", "OK"]


# -- check and explain ------------------------------------------------------------------------------------------------


def check_all(workspace: Workspace) -> list[tuple[str, str]]:
    """Every document, and `OK`, `DENIED` and what, or each thing that is wrong with it."""
    readers: tuple[tuple[str, Sequence[str], Callable[[str], object]], ...] = (
        ("contracts", workspace.documents("contracts"), workspace.contract),
        ("policies", workspace.documents("policies"), workspace.policy),
        ("policies", workspace.policy_tests(), lambda name: _prepared(workspace, name)),
        ("segments", workspace.documents("segments"), lambda name: decidable(workspace, name)),
        ("collaborations", workspace.documents("collaborations"), workspace.collaboration),
    )
    rows = []
    for folder, names, read in readers:
        for name in names:
            try:
                state = read(name)
                rows.append((f"{folder}/{name}.yaml", state if isinstance(state, str) else OK))
            except Exception as error:  # noqa: BLE001 (a list of what is wrong: each document's fault is its state)
                rows += [(f"{folder}/{name}.yaml", problem) for problem in str(error).splitlines()]
    return rows


@dataclass(frozen=True, slots=True)
class Explanation:
    """Whether a purpose may read a column, every finding about it, what becomes of its values, and the rule that came nearest."""

    allowed: bool
    findings: tuple[Finding, ...]
    steps: tuple[str, ...]
    near: str | None


def explain(
    workspace: Workspace,
    dataset: str,
    policy: str,
    purpose: str,
    column: str,
    *,
    jurisdiction: str | None = None,
    destination: str | None = None,
    fairness: bool = False,
) -> Explanation:
    """What a policy says of `column` (TABLE.COLUMN) and why. Raises WorkspaceError, DocumentError."""
    contract = workspace.contract(dataset)
    if jurisdiction and not known(jurisdiction):
        raise WorkspaceError(f"got jurisdiction `{jurisdiction}`, expected {A_PLACE}")
    table, _, name = column.partition(".")
    if not table or not name:
        raise WorkspaceError(f"got `{column}`, expected TABLE.COLUMN, as in contracts/{dataset}.yaml")
    if jurisdiction:
        contract = contract.model_copy(update={"jurisdiction": jurisdiction})
    held = workspace.policy(policy)
    use = Use(table, name, ("you",), fairness=fairness)
    request = Request(purpose, contract, (use,), "propensity", destination)
    steps = tuple(step.words() for step in generalisations(held, request).get((table, name), ()))
    allowed = isinstance(decide(held, request), Allow)
    return Explanation(allowed, judge(held, request), steps if allowed else (), nearest_miss(held, request, use))


# -- test -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Report:
    """One test document: of what, how many checks each case is, and the checks that failed."""

    document: str
    policy: str
    cases: tuple[tuple[str, int], ...]
    failures: tuple[Failure, ...]

    @property
    def checks(self) -> int:
        """How many there were."""
        return sum(count for _, count in self.cases)


@dataclass(frozen=True, slots=True)
class Hunt:
    """How many mutants there were, and those that no test noticed, as (rule, what)."""

    policy: str
    mutants: int
    survivors: tuple[tuple[str, str], ...]

    @property
    def caught(self) -> int:
        """How many were noticed."""
        return self.mutants - len(self.survivors)


def is_pack(name: str) -> bool:
    """Whether a name is that of a pack that ships with Consentric."""
    return name in shipped.names()


def test_pack(name: str) -> Report:
    """Run the test document that a pack ships with."""
    test = reading.read_policy_test(*shipped.test_source(name))
    return _report(f"{name}.test.yaml", name, testing.pack_checks(test), reading.shipped_pack(name))


def hunt_pack(name: str) -> Hunt:
    """Mutate a pack, and count the mutants that its test document notices."""
    pack, test = reading.shipped_pack(name), reading.read_policy_test(*shipped.test_source(name))
    return _hunted(name, testing.hunt(testing.pack_checks(test), mutants.pack_mutants(pack)))


def test_policies(workspace: Workspace, name: str | None) -> tuple[Report, ...]:
    """Run the test documents of one policy, or of all of the workspace. Raises WorkspaceError where there is none, DocumentError."""
    found = []
    for document in workspace.policy_tests():
        policy, checks = _prepared(workspace, document)
        if name in (None, policy.name):
            found.append(_report(f"policies/{document}.yaml", policy.name, checks, policy))
    if not found:
        wanted = f"a test of policy `{name}`" if name else "a test of a policy"
        raise WorkspaceError(f"got no {wanted}, expected policies/NAME.test.yaml with `kind: policy-test`, or the name of a pack")
    return tuple(found)


def hunt_policy(workspace: Workspace, name: str) -> Hunt:
    """Mutate a policy of the workspace, and count the mutants that its test documents notice."""
    policy = workspace.policy(name)
    prepared = [checks for tested, checks in (_prepared(workspace, document) for document in workspace.policy_tests()) if tested == policy]
    return _hunted(name, testing.hunt([check for checks in prepared for check in checks], mutants.policy_mutants(policy)))


def _prepared(workspace: Workspace, document: str) -> tuple[Policy, tuple[Check[Policy], ...]]:
    """A test document's policy and checks. Raises WorkspaceError, DocumentError."""
    test = workspace.policy_test(document)
    policy = workspace.policy(test.policy)
    contract = workspace.contract(test.contract) if isinstance(test.contract, str) else test.contract
    _usable(workspace, document, test, contract)
    return policy, testing.policy_checks(test, contract)


def _usable(workspace: Workspace, document: str, test: PolicyTest, contract: Contract | None) -> None:
    """Raises DocumentError where a case asks about what is not there, which would be denied, and prove nothing."""
    problems: list[DocumentError] = []
    for place, case in enumerate(test.cases):
        for given in ("basis", "ground", "recipient", "transfer"):
            if values := getattr(case, given):
                expected = "nothing: a policy says itself what is given to a pack"
                problems.append(workspace.complaint("policies", document, ("cases", place, given), f"`{', '.join(values)}`", expected))
        for at, name in enumerate(case.column):
            table, _, column = name.partition(".")
            if contract is None:
                problems.append(workspace.complaint("policies", document, ("contract",), "nothing", "the contract of the columns"))
            elif table not in contract.tables or column not in contract.tables[table].columns:
                path = ("cases", place, "column", at)
                problems.append(workspace.complaint("policies", document, path, f"`{name}`", f"a column of contract `{contract.name}`"))
    if problems:
        raise DocumentError(tuple(problem for error in problems for problem in error.problems))


def _report(document: str, policy: str, checks: tuple[Check[Tested], ...], tested: Tested) -> Report:
    counts: dict[str, int] = {}
    for check in checks:
        counts[check.case] = counts.get(check.case, 0) + 1
    return Report(document, policy, tuple(counts.items()), testing.run(checks, tested))


def _hunted(name: str, hunted: Iterator[tuple[Mutant[Tested], bool]]) -> Hunt:
    results = list(hunted)
    return Hunt(name, len(results), tuple((mutant.rule, mutant.what) for mutant, noticed in results if not noticed))


# -- diff -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Compared:
    """Two policies and what changes from one to the other; segments that a change allows or denies, and what denies them."""

    before: str
    after: str
    difference: Difference
    segments: tuple[tuple[str, str], ...]


def diff(workspace: Workspace, before: str, after: str) -> Compared:
    """What changes if `after` takes the place of `before`: names of policies, packs, or files. Raises WorkspaceError, DocumentError."""
    old, new = _laid(_named(workspace, before), _named(workspace, after))
    contracts = [workspace.contract(name) for name in workspace.documents("contracts")]
    return Compared(before, after, compare(old, new, contracts), tuple(_affected(workspace, old, new, {before, after})))


def _named(workspace: Workspace, name: str) -> Policy | Pack:
    if name in workspace.documents("policies"):
        return workspace.policy(name)
    if is_pack(name):
        return reading.shipped_pack(name)
    path = Path(name)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        data = path.read_bytes()
        return reading.read_pack(data, name) if reading.kind_of(data, name) == "pack" else reading.read_policy(data, name)
    raise WorkspaceError(f"got `{name}`, expected a file, or {one_of((*workspace.documents('policies'), *shipped.names()))}")


def _laid(before: Policy | Pack, after: Policy | Pack) -> tuple[Policy, Policy]:
    """Two policies; a pack stands for the other policy laid over it, and two packs are laid under a house that permits everything."""
    if isinstance(before, Policy):
        return before, extend(before, (after,)) if isinstance(after, Pack) else after
    if isinstance(after, Policy):
        return extend(after, (before,)), after
    house = testing.open_house()
    return extend(house, (before,)), extend(house, (after,))


def _affected(workspace: Workspace, old: Policy, new: Policy, names: set[str]) -> Iterator[tuple[str, str]]:
    """Segments of the two policies that are answered differently."""
    for name in workspace.documents("segments"):
        spec = workspace.segment(name)
        if spec.policy not in names:
            continue
        contract = workspace.contract(spec.dataset)
        was, now = (
            decide(policy, Request(spec.purpose, contract, uses_of(contract, policy, spec), spec.model.type, spec.output.destination))
            for policy in (old, new)
        )
        match was, now:
            case Allow(), Deny(because):
                yield name, "would be denied: " + ", ".join(f"{f.subject} ({f.cause if f.rule == '-' else f.rule})" for f in because)
            case Deny(), Allow():
                yield name, "would be allowed"
