"""What the report shows of a predicted number, such as what somebody will spend."""

from __future__ import annotations

from dataclasses import dataclass

from audit.uplift_page import Slope


@dataclass(frozen=True, slots=True)
class Value:
    """`rule`: who is selected, in words; `capped`: what high values count as; `about`: whom figures are about; `unit` of the number.

    `bands`: (predicted, observed, low, high) in that unit, the lowest scores first; `slopes`: how features move the rank, which is 1
    for the first and 0 for the last.
    """

    rule: str
    capped: str
    about: str
    unit: str
    bands: tuple[tuple[float, float, float, float], ...]
    slopes: tuple[Slope, ...]
