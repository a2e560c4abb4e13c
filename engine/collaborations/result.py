"""What came of joint rounds: the released model, what may be told of it, and what was asked for it; the same for whoever takes part.

Everything in it came through the door or follows from what did. It has no time and no place in it, so that a run that was killed and went
on ends in the same bytes. Partners are told the model and its parts (`engine.outcome`), and assign their own people by it, at home.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from audit import verify
from audit.clusters_page import Clusters
from audit.explanation_page import Explanation
from audit.fairness import FairnessFinding, Verdict, worst
from audit.report import Count, Figure, Profile, Propensity
from audit.uplift_page import Uplift
from audit.value_page import Value
from engine.outcome import JointPart, Outcome
from engine.parts import Part


class ResultError(Exception):
    """Not a result of this release."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question that was answered: in which round, for what, with how much noise, and by whom, where not by all.

    `mu_squared`: what the sum's noise says, as a fraction `p/q`; `charged`: what each partner charged for it; `bound`: in units of the
    query; `without`: partners who were lost in the round.
    """

    round: int
    path: str
    step: str
    part: str
    mu_squared: str
    charged: str
    bound: float
    draws: int
    without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """`model`: as `engine.models.released` takes it, with the `threshold` of a score; `subjects`: how many there are at all partners."""

    contract: str
    name: str
    purpose: str
    features: tuple[str, ...]
    model: Mapping[str, Any]
    subjects: Count
    parts: tuple[Part, ...]
    profiles: tuple[Profile, ...]
    utility: tuple[Figure, ...]
    headline: str
    forecast: str
    explanation: Explanation
    asked: tuple[Asked, ...]
    propensity: Propensity | None = None
    clusters: Clusters | None = None
    value: Value | None = None
    uplift: Uplift | None = None
    fairness: tuple[FairnessFinding, ...] = ()

    @property
    def verdict(self) -> Verdict | None:
        """The worst verdict about groups; None where the contract names none."""
        return worst(self.fairness) if self.fairness else None

    def canonical(self) -> bytes:
        """Canonical JSON, as of passports: RFC 8785 has no whole numbers from 2^53 on, which models have. Without `fairness` where nobody
        was asked about groups, as in results before there were any."""
        plain = _adapter().dump_python(self, mode="json")
        return verify.canonical(plain if self.fairness else {name: each for name, each in plain.items() if name != "fairness"})

    @classmethod
    def parse(cls, raw: bytes) -> Result:
        """The inverse. Raises ResultError for anything else."""
        try:
            found = _adapter().validate_json(raw)
        except ValidationError as error:
            raise ResultError(f"not a result of this release: {len(error.errors())} fields are wrong") from None
        if found.canonical() != raw:
            raise ResultError("the result is not in canonical form")
        return found


def told(result: Result) -> Outcome:
    """What partners are told of it."""
    parts = [JointPart.model_validate(part.as_facts()) for part in result.parts]
    model = json.loads(verify.canonical(result.model))
    return Outcome(model=model, parts=parts, headline=result.headline, utility=_figures(result), fairness=result.fairness)


def _figures(result: Result) -> dict[str, float]:
    return {figure.name: figure.value for figure in result.utility}


@cache
def _adapter() -> TypeAdapter[Result]:
    return TypeAdapter(Result)
