"""Who gets how much of a build's μ²: shares by the type of its model, without those that a segment has no use for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine import bounds, movement
from engine.lineage import Last
from engine.trainers import projecting
from policies.segment import Clusters, Propensity, Segment

if TYPE_CHECKING:
    from federated.contract import Collaboration

CLUSTER_SHARES = {"train": 88.0, "profiles": 7.0, "flags": 1.0, "fairness": 6.0}
PROPENSITY_SHARES = {"train": 65.0, "scores": 4.0, "curve": 14.0, "profiles": 5.0, "sizes": 2.0, "flags": 1.0, "fairness": 12.0}
VALUE_SHARES = PROPENSITY_SHARES | {"train": 55.0, "curve": 24.0}
UPLIFT_SHARES = PROPENSITY_SHARES | {"train": 45.0, "curve": 34.0}
SHARES = {"clusters": CLUSTER_SHARES, "propensity": PROPENSITY_SHARES, "value": VALUE_SHARES, "uplift": UPLIFT_SHARES}
"""Shares of a build's μ², by the type of its model; what a segment does not ask for goes to the others in proportion."""

SUBJECTS = 1.0
"""Share of how many subjects partners have together."""

NETWORK = 8.0
"""Share of the rounds about a propensity network, beside `PROPENSITY_SHARES`: its samples have a budget of their own."""


def shares_of(spec: Segment, last: Last | None = None) -> dict[str, float]:
    """Shares of the budget, without those that `spec` has no use for; `last`: the release to compare with."""
    shares = dict(SHARES[spec.model.type])
    if not spec.fairness:
        del shares["fairness"]
    if spec.deep and isinstance(spec.model, Propensity):
        shares["train"] = NETWORK
    if spec.estimated:
        shares["bounds"] = bounds.SHARE
    if movement.comparable(last, spec):
        shares["movement"] = movement.SHARE
    return shares


def joint(contract: Collaboration) -> dict[str, float]:
    """Shares of a joint budget, by the type of its model: rules that touched rows are each house's own to ask about, and groups are asked
    about where the contract names some; how many subjects there are is asked first, as no snapshot tells it."""
    left_out = {"flags"} if contract.fairness else {"flags", "fairness"}
    return {name: share for name, share in SHARES[contract.model.type].items() if name not in left_out} | {"subjects": SUBJECTS}


def joint_trained(contract: Collaboration) -> float:
    """What training gets of a joint μ², as `trained` says it of a build."""
    fitted, own = SHARES[contract.model.type], joint(contract)
    return own["train"] / sum(own.values()) * sum(fitted.values()) / fitted["train"]


def trained(spec: Segment) -> float:
    """What a trainer gets of a build's μ², as a multiple of what it gets by `SHARES`, which forecasts were fitted to. What is asked of a
    former release is left out: it is small, and not known before its snapshot is."""
    if spec.deep:
        return 1.0
    fitted, own = SHARES[spec.model.type], shares_of(spec)
    left = projecting.SHARES["fit"] / sum(projecting.SHARES.values()) if isinstance(spec.model, Clusters) and spec.model.prepare else 1.0
    return left * own["train"] / sum(own.values()) * sum(fitted.values()) / fitted["train"]
