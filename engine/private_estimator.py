"""What private estimators on arrays share: a ledger of their own, bounds that are public or paid for, and the way onto the grid.

Neighbours: add or remove one row. Not here: what is learned (`engine.estimators`).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from engine import bounds as estimated
from engine.scale import Scale
from governance.accounting import RESERVED_DRAWS, concentrated_epsilon, concentrated_mu_squared, epsilon_of, mu_squared_of
from governance.door import Array, BudgetError, Cohort, Grant, LocalCohort, MemoryMeter
from governance.noise import NoiseSource, SystemNoise

LARGEST = Fraction(1 << 16)
"""μ² that one query may have at the door (σ ≥ 2^24 grid units); what ε pays beyond it is not spent."""

EXACT_UNTIL = 700.0
"""ε up to which Gaussian DP is evaluated; beyond about 12 zCDP gives more anyway."""

BEYOND = 0.005
"""Share of values that may lie outside each estimated bound; they count as if they lay on it."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What an estimator has spent: `fits` that were begun are (epsilon, delta)-DP together; `mu_squared` of Gaussian DP."""

    epsilon: float
    delta: float
    mu_squared: Fraction
    fits: int

    @classmethod
    def of(cls, mu_squared: Fraction, fits: int, delta: float) -> Budget:
        """By the better of two proofs."""
        gaussian = epsilon_of(mu_squared, fits * RESERVED_DRAWS, delta)
        return cls(min(gaussian, concentrated_epsilon(mu_squared, delta)), delta, mu_squared, fits)


def affordable(epsilon: float, delta: float) -> Fraction:
    """The largest μ² that (ε, δ) pays for and the door takes. Raises ValueError."""
    gaussian = mu_squared_of(min(epsilon, EXACT_UNTIL), delta) if epsilon > 0 else Fraction(0)
    return min(max(gaussian, concentrated_mu_squared(epsilon, delta)), LARGEST)


class Private(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What all estimators here share: the ledger, bounds, and the way onto the public grid."""

    noise: ClassVar[NoiseSource] = SystemNoise()

    epsilon: float
    delta: float
    cap: float | None
    bounds: tuple[ArrayLike, ArrayLike] | None
    bounds_: tuple[Array, Array]

    @property
    def budget_(self) -> Budget:
        """What was spent until now, whether or not a fit came to its end."""
        mu_squared, fits = getattr(self, "_spent", (Fraction(0), 0))
        return Budget.of(mu_squared, fits, self.delta)

    def open(self, **columns: Array) -> tuple[MemoryMeter, Grant]:
        """Charge a fit before anything is drawn, and find bounds of `columns`, each (n, m) and bounded by the parameter of that name.

        What is left of the grant is for the trainer. Raises BudgetError.
        """
        mu_squared = affordable(self.epsilon, self.delta)
        before = self.budget_
        after = Budget.of(before.mu_squared + mu_squared, before.fits + 1, self.delta)
        if self.cap is not None and not after.epsilon <= self.cap:
            raise BudgetError(f"a fit at ε = {self.epsilon:g} would bring ε to {after.epsilon:.6g}, expected at most `cap` = {self.cap:g}")
        self._spent = after.mu_squared, after.fits
        meter = MemoryMeter(mu_squared)
        given = {name: getattr(self, name) for name in columns}
        for name, bounds in given.items():
            if bounds is not None:
                setattr(self, f"{name}_", given_bounds(bounds, columns[name].shape[1]))
        if not (open_ := [name for name, bounds in given.items() if bounds is None]):
            return meter, meter.grant()
        grants = meter.grant().split(train=100.0, bounds=estimated.SHARE)
        raw = np.hstack([columns[name] for name in open_])
        low, high = estimated_bounds(LocalCohort({"raw": raw}, meter), raw.shape[1], grants["bounds"], self.noise)
        ends = np.cumsum([columns[name].shape[1] for name in open_])[:-1]
        for name, lows, highs in zip(open_, np.split(low, ends), np.split(high, ends), strict=True):
            setattr(self, f"{name}_", (lows, highs))
        return meter, grants["train"]

    def on_grid(self, X: Array) -> NDArray[np.int32]:
        """Features of rows, (n, d), as the trainers know them."""
        scales = [Scale(float(low), float(high)) for low, high in zip(*self.bounds_, strict=True)]
        return np.stack([scale.encode(X[:, place]) for place, scale in enumerate(scales)], axis=1)

    def checked(self, X: ArrayLike) -> Array:
        check_is_fitted(self)
        return np.asarray(validate_data(self, X, dtype=np.float64, reset=False))


def given_bounds(bounds: tuple[ArrayLike, ArrayLike], d: int) -> tuple[Array, Array]:
    """(low, high), each a number or (d,), as two arrays."""
    low, high = (np.broadcast_to(np.asarray(bound, dtype=np.float64), (d,)) for bound in bounds)
    if not (low < high).all() or not np.isfinite([low, high]).all():
        raise ValueError(f"expected finite `bounds` that ascend, got {bounds}")
    return low, high


def estimated_bounds(cohort: Cohort, d: int, grant: Grant, noise: NoiseSource) -> tuple[Array, Array]:
    found = estimated.estimate(cohort, [BEYOND] * d, grant, noise)
    if any(bound is None for bound in found):
        raise ValueError("noise hides where values lie: more rows or a larger ε show it, or give `bounds`, as (low, high) of each feature")
    return np.array([float(bound.low) for bound in found if bound]), np.array([float(bound.high) for bound in found if bound])
