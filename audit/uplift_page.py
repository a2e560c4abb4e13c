"""What the report shows of an uplift: whom a campaign persuaded, in its trial."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Slope:
    """How one feature moves a prediction over the whole of its declared range, and the standard deviation of that."""

    feature: str
    effect: float
    error: float


@dataclass(frozen=True, slots=True)
class Uplift:
    """`rule`: who is selected, in words; `trial`: who took part and how alike the arms were; `about`: whom figures are about.

    `gains`: the Qini curve, (share, outcomes added per treated subject); `bands`: (predicted, observed, low, high) uplift in percentage
    points, the lowest scores first.
    """

    rule: str
    trial: str
    about: str
    gains: tuple[tuple[float, float], ...]
    bands: tuple[tuple[float, float, float, float], ...]
    slopes: tuple[Slope, ...]
