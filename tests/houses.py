"""A policy that permits everything, for tests of what takes away; `house` changes its figures."""

from __future__ import annotations

from typing import Any

import yaml

from policies.policy import Policy

POLICY = """\
kind: policy
name: house
purposes:
  marketing: {basis: {default: consent, us: opt_out}}
  essential.legal_obligation: {basis: {default: consent}}
rules:
  - id: everything
    effect: permit
    categories: ["*"]
    sensitivity: [plain, pseudonymous, sensitive]
    ground: explicit_consent
    reason: why not
budgets:
  cap: {epsilon: 8, delta: 0.001}
  purposes: {marketing: {epsilon: 3}, essential.legal_obligation: {epsilon: 1}}
  snapshot: {interval: 1d}
cohort_floor: 40
fairness: {purpose: essential.legal_obligation, on_fail: allow, on_inconclusive: allow}
"""


def house(**changes: Any) -> Policy:
    """The policy above, with other figures."""
    return Policy.model_validate({**yaml.safe_load(POLICY), **changes})
