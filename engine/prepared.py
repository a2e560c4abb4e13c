"""A segment as far as documents tell: what is put to the policy and what the policy finds; no data row is read, and nothing is spent.

Not here: plans and their gates (`engine.planning`), which look at who is admitted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from engine.workspace import Workspace, WorkspaceError
from governance.reads import attribute_reads, child_reads, requested
from policies.contract import Contract
from policies.deciding import Request, Use, for_admission, generalisations, judge
from policies.decisions import Finding
from policies.generalisation import Generalisation
from policies.parsing import DocumentError
from policies.policy import Policy
from policies.segment import Segment


@dataclass(frozen=True)
class Prepared:
    """A segment that may be built, as far as documents tell; no data row was read. What follows from them is worked out once.

    `written`: the spec as it was written, where `spec` has bounds in it that the door gave since.
    """

    spec: Segment
    contract: Contract
    policy: Policy
    uses: tuple[Use, ...]
    findings: tuple[Finding, ...]
    written: Segment | None = None

    @cached_property
    def request(self) -> Request:
        """What was put to the policy."""
        spec = self.spec
        return Request(spec.purpose, self.contract, self.uses, spec.model.type, spec.output.destination, spec.private)

    @cached_property
    def coarsened(self) -> Mapping[tuple[str, str], tuple[Generalisation, ...]]:
        """What becomes of columns before anything is computed from them."""
        return generalisations(self.policy, self.request)

    @property
    def coarseness(self) -> dict[str, list[dict[str, Any]]]:
        """The same, as a build's facts keep it: steps by `table.column`."""
        steps = self.coarsened.items()
        return {f"{table}.{name}": [step.model_dump(mode="json", exclude_none=True) for step in each] for (table, name), each in steps}

    @cached_property
    def rules(self) -> Policy:
        """The policy as admission reads it: it has no basis for people where this request would be denied."""
        return for_admission(self.policy, self.request)

    @property
    def digests(self) -> Mapping[str, str]:
        """What a plan pins."""
        return {"spec": (self.written or self.spec).digest(), "contract": self.contract.digest(), "policy": self.policy.digest()}


def decided(contract: Contract, policy: Policy, spec: Segment) -> Prepared:
    """A segment with what the policy finds, whether it allows or denies. Raises ExpressionError, WorkspaceError."""
    bare = Prepared(spec, contract, policy, uses_of(contract, policy, spec), ())
    return replace(bare, findings=judge(policy, bare.request))


def uses_of(contract: Contract, policy: Policy, spec: Segment) -> tuple[Use, ...]:
    """Every column that a build would read: for features, label and rows, for the fairness audit alone, and to know who is a child."""
    wanted = [Use(r.table, r.column, r.readers, "; ".join(r.why) or None) for r in requested(contract, spec)]
    for attribute in spec.fairness:
        table_ = contract.tables.get(attribute.table)
        column = table_.columns.get(attribute.column) if table_ else None
        if column is None or not column.domain:
            got = f"{attribute.table}.{attribute.column}"
            raise WorkspaceError(
                f"segments/{spec.name}.yaml: fairness: got `{got}`, expected a column of `{spec.dataset}` with a public `domain`"
            )
    for table, name in sorted(attribute_reads(contract, spec.fairness)):
        wanted.append(Use(table, name, ("fairness",), "to check that groups fare alike", fairness=True))
    if policy.children_in(contract.jurisdiction):
        wanted += [Use(*read, ("admission",), "to know who is a child", admission=True) for read in sorted(child_reads(contract))]
    return tuple(wanted)


def contracts(workspace: Workspace) -> tuple[Contract, ...]:
    """Those of the workspace. Raises DocumentError."""
    return tuple(workspace.contract(name) for name in workspace.documents("contracts"))


def pairs(workspace: Workspace) -> tuple[tuple[tuple[Contract, Policy], ...], tuple[str, ...]]:
    """Contracts with the policies that a segment puts to them, and what is wrong with segments that cannot be read."""
    named: set[tuple[str, str]] = set()
    problems: list[str] = []
    for name in workspace.documents("segments"):
        try:
            spec = workspace.segment(name)
            named.add((spec.dataset, spec.policy))
        except DocumentError as error:  # somebody's unfinished draft hides nobody's account
            problems += str(error).splitlines()
    return tuple((workspace.contract(dataset), workspace.policy(policy)) for dataset, policy in sorted(named)), tuple(problems)
