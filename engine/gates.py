"""Exit codes, and the one way in which a gate stops the pipeline: with every reason at once."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from policies.decisions import Allow, Cause, Deny, Finding


class Exit(IntEnum):
    """What the shell sees."""

    DONE = 0
    MACHINE = 1
    USAGE = 2
    DENIED = 3
    BUDGET = 4
    FAIRNESS = 5
    INTEGRITY = 6


class Refused(Exception):
    """A gate said no. `findings` hold nothing that depends on a row, noisy counts aside."""

    def __init__(self, findings: Iterable[Finding], code: Exit = Exit.DENIED) -> None:
        self.findings = tuple(findings)
        self.code = code
        super().__init__("; ".join(f"{f.subject}: {f.reason}" for f in self.findings))


def gate(decision: Allow | Deny, code: Exit = Exit.DENIED) -> Allow:
    """Through, or Refused."""
    match decision:
        case Allow():
            return decision
        case Deny(because):
            raise Refused(because, code)


def refusal(subject: str, rule: str, policy: str, reason: str, condition: str, remedy: str, code: Exit = Exit.DENIED) -> Refused:
    """A refusal for one reason that no policy rule names: floor, forecast, stale plan."""
    return Refused([Finding(Cause.FORBID, subject, rule, policy, reason, condition, None, remedy)], code)
