"""Shares of noise: what each partner adds, so that those who may be left hide every subject from those who may collude.

Of n partners at least t are in a sum that is opened, and c of these may know each other's noise: h = t − c shares hide. Each partner
adds discrete Gaussian noise of variance σ²/n. What a sum holds when nobody is lost has then variance σ², which is what a `Grant` says of
it (`Grant.sigma`), so that trainers see the noise that there is. What colluders do not know of it has at least variance h σ²/n; and
a subject at m partners moves the sum by m times the bound. So a question of μ² = (bound/σ)² costs a subject

    μ²_paid = m² · (n/h) · μ²,

which every partner charges to its own ledger before its vector leaves. Neighbours: add or remove one subject at all its partners.

**The sum is no discrete Gaussian.** Kairouz, Liu, Steinke 2021, "The distributed discrete Gaussian mechanism", Proposition 13: the sum of
two independent discrete Gaussians with parameters s, r ≥ 1/2 has at every point the probability of the discrete Gaussian of
variance s² + r², up to a factor e^±D with D ≤ 5 exp(−2π² / (1/s² + 1/r²)). Of h shares with parameter s, one after the other (the sum
in their Theorem 1, whose 10 is 2 · 5, for both neighbours):

    D ≤ 5 Σ_{k=1}^{h−1} exp(−2π² s² k/(k+1)),   total variation ≤ (e^D − 1)/2 ≤ D.

`governance.accounting` pays TOTAL_VARIATION/σ² a draw for the distance between the discrete and the rounded Gaussian, where 0.02017/σ²
would do; as long as D is below the rest, the term is paid for already. `share_sigma` makes sure of it, and of σ√(h/n) ≥ MIN_SIGMA, below
which that derivation does not hold. Shares here have s above 2^19, so that D is below exp(−10^12).

**The ring.** A sum wraps around beyond ±2^63. Contributions take at most n · max_subjects · 2^32 ≤ 2^62 (`federated.contract`); σ ≤ 2^56
leaves noise 64 σ to the rest. A sum of discrete Gaussians is subgaussian (Canonne, Kamath, Steinke 2020, section 3), beyond 64 σ with
probability below 2 exp(−2048). Wrapping is post-processing: it would spoil a sum, and never cost privacy.

More partners than t only add noise that is independent of all that. Not here: where noise comes from (`governance.noise`).
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from federated.contract import Collaboration
from governance.accounting import MIN_SIGMA, TOTAL_VARIATION, mu_squared_of
from governance.door import DoorError, Grant, ReservationId, grid_sigma
from governance.grid import GRID

NEEDED = 0.02017
"""σ² times the total variation between the discrete and the rounded Gaussian, 4 φ(1)/48, rounded up (`governance.accounting`)."""


def convolution(sigma: float, parts: int) -> float:
    """Most by which the sum of `parts` discrete Gaussians with parameter `sigma` (≥ 1/2) differs from one of the same variance, as the
    absolute logarithm of a ratio of probabilities; rounded up, above 0 even where it is too small to write down."""
    if parts < 2:
        return 0.0
    terms = (math.exp(-2 * math.pi**2 * sigma**2 * k / (k + 1)) for k in range(1, parts))
    return 5 * math.fsum(terms) * (1 + 1e-9) + sys.float_info.min


@dataclass(frozen=True, slots=True)
class Sharing:
    """The public terms. `honest`: fewest shares that hide a subject; `presence`: most partners where it is."""

    partners: int
    honest: int
    presence: int

    @classmethod
    def of(cls, contract: Collaboration) -> Sharing:
        """Those of a contract."""
        return cls(len(contract.partners), contract.honest, contract.presence)

    @property
    def factor(self) -> Fraction:
        """What a question costs over what its noise says: m² n/h."""
        return Fraction(self.presence**2 * self.partners, self.honest)

    def price(self, grant: Grant, reservation: ReservationId) -> Grant:
        """What a partner charges, under a reservation of its own, for a sum with the noise of `grant`."""
        return Grant(reservation, grant.path, grant.mu_squared * self.factor)

    def share_sigma(self, grant: Grant) -> float:
        """Noise of one share in grid units, rounded up. Raises DoorError where noise is too small or too large to be accounted for."""
        whole = grid_sigma(grant)
        share = math.nextafter(math.nextafter(whole / math.sqrt(self.partners), math.inf), math.inf)
        hiding = share * math.sqrt(self.honest)
        if hiding < MIN_SIGMA:
            raise DoorError(f"grant `{grant.path}` is too large: {self.honest} shares make {hiding:.3g} grid units, expected 2^24 at least")
        if convolution(share, self.partners) > (TOTAL_VARIATION - NEEDED) / whole**2:
            raise DoorError(f"grant `{grant.path}` is too large: shares of {share:.3g} grid units do not add up to Gaussian noise")
        return share


def possible(total: NDArray[np.int64], subjects: int, grant: Grant) -> bool:
    """Whether so many subjects can make this sum: its L2 norm is at most that of as many contributions, and of noise.

    False for partners who keep to the contract with probability below exp(−2048): noise of d numbers is subgaussian, and its norm exceeds
    σ(√d + 64) so rarely (Hsu, Kakade, Zhang 2012, "A tail inequality for quadratic forms of subgaussian random vectors", Theorem 2.1,
    with t = 2048).
    """
    noise = grid_sigma(grant) * (math.sqrt(len(total)) + 64)
    return bool(np.linalg.norm(total.astype(np.float64)) <= (subjects * GRID + noise) * (1 + 1e-9))


def whole(contract: Collaboration) -> Grant:
    """All that a contract's ε and δ allow, as the noise that it stands for: what a trainer splits among its questions."""
    affordable = mu_squared_of(contract.privacy.epsilon, contract.privacy.delta)
    return Grant(ReservationId(contract.digest()), contract.name, affordable / Sharing.of(contract).factor)
