"""What deep models ask of a plan: an extra that is installed, a policy that is content with floating point, a block of budget.

Not here: training them (`engine.deep_training`), so that a plan is read without importing what learns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from audit.wording import small
from engine.gates import refusal
from engine.trainers.deep import terms
from engine.workspace import WorkspaceError
from governance.blocks import Block, BlockError
from policies.policy import Policy
from policies.segment import Segment

if TYPE_CHECKING:
    from engine.prepared import Prepared

FLOATING = "floating point: gradients of single subjects are computed in batches by torch and Opacus; clip, sum and noise are exact"
"""What the noise of a deep model is worth, in a passport."""

MECHANISM = "Poisson-sampled discrete Gaussian, add or remove one subject, composed by dp-accounting PLD"
"""What training by samples is, for whoever composes it again."""


def gate(prepared: Prepared) -> None:
    """Raises Refused under a strict policy, and WorkspaceError where the extra is missing."""
    exact_gate(prepared.spec, prepared.policy)
    if prepared.spec.deep and (lacking := terms.missing()):
        raise WorkspaceError(f"deep models need {', '.join(lacking)}, not installed: pip install 'consentric[deep]'")


def exact_gate(spec: Segment, policy: Policy) -> None:
    """Raises Refused for a deep model under a strict policy: before it is trained, and at each use of what it became."""
    if spec.deep and policy.strict:
        raise refusal(
            spec.name,
            "strict-is-exact",
            policy.digest(),
            "a strict policy wants exact arithmetic, and a deep model computes gradients in floating point",
            f"`strict` of policy `{policy.name}` is not true, or the model is none of a deep one",
            "ask for another learner, leave out `embed`, or build under a policy that is not strict",
        )


def block_of(prepared: Prepared, epsilon: float) -> Block | None:
    """What a build would reserve at `epsilon`; None where it reserves Gaussian draws. Raises WorkspaceError."""
    spec = prepared.spec
    if not (spec.private and spec.deep):
        return None
    try:
        most = prepared.contract.subject.max_subjects
        return terms.terms(terms.shape(spec), epsilon, spec.asked.delta, terms.EXACT[spec.model.type], most)
    except BlockError as error:
        raise WorkspaceError(f"segments/{spec.name}.yaml: privacy: {error}") from None


def facts(block: Block) -> dict[str, Any]:
    """What a plan pins of a deep model, as JSON."""
    drawn = block.sampled
    return {
        "epsilon": block.epsilon,
        "delta": block.delta,
        "mechanism": MECHANISM,
        "exact_mu_squared": float(block.mu_squared),
        "rate": float(drawn.rate),
        "noise_multiplier": drawn.noise,
        "steps": drawn.steps,
        "size": drawn.size,
        "rows": drawn.rows,
        "assurance": FLOATING,
    }


def words(block: Block) -> str:
    """How a model is trained, for whoever decides on it."""
    drawn = block.sampled
    return (
        f"{drawn.steps} steps, each over a random sample into which everybody comes with a chance of 1 in {float(1 / drawn.rate):.4g}, "
        f"{drawn.size:,} numbers a step, with noise of {drawn.noise:.3g} times as much as one subject can move them; samples have "
        f"{drawn.rows:,} rows, whoever is in them. Everything that the build draws is composed beforehand and enters the accounts as one "
        f"block of ε {block.epsilon:g} and δ {small(block.delta)}, added to everything else. Assurance: {FLOATING}."
    )
