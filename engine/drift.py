"""Drift: how far the released distribution of each feature lies from that of the last build. Two noisy histograms; nothing is charged.

The distance is total variation, half of Σ |p − q|: the share of people who would have to be moved to another bar. (The population
stability index divides by bars that may be empty, and noise makes of an empty bar whatever it likes.) With noise e in the shares the
measured distance differs from the true one by at most half of Σ |e|, by the triangle inequality; its 95 % quantile, over all
features at once (Bonferroni), is the interval on either side, so that "drifted" is said wrongly in at most one of 20 builds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from audit.explanation_page import Drift
from audit.intervals import Interval
from audit.report import Profile

CONFIDENCE = 0.95

DRAWS = 2_000
"""Draws of noise that the quantile is read from; the seed is fixed, as they look at nothing that is not released."""


def drift(profiles: Sequence[Profile], last: Mapping[str, Profile]) -> tuple[tuple[Drift, ...], tuple[str, ...]]:
    """One a feature that both builds have between the same bounds; and the features whose bounds differ, so that bars do.

    Whoever is in no segment is one of the people too (`Profile.rest`).
    """
    pairs = [(profile, last[profile.feature]) for profile in profiles if profile.feature in last]
    alike = [(now, then) for now, then in pairs if then.sigma > 0 and np.allclose(now.edges, then.edges, rtol=1e-9, atol=0.0)]
    unlike = tuple(now.feature for now, then in pairs if (now, then) not in alike)
    found = []
    for now, then in alike:
        (shares, errors), (others, more) = _shares(now, seed=0), _shares(then, seed=1)
        distance = float(np.abs(shares - others).sum() / 2)
        noise = np.abs(errors - more).sum(axis=1) / 2
        reach = float(np.quantile(noise, 1 - (1 - CONFIDENCE) / len(alike)))
        interval = Interval(min(distance, 1.0), max(0.0, distance - reach), min(1.0, distance + reach))
        found.append(Drift(now.feature, interval, distance > reach))
    return tuple(found), unlike


def _shares(profile: Profile, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares (bins,) of everybody by bar, and draws (DRAWS, bins) of the noise in them."""
    rows = [*profile.histograms, *([profile.rest] if profile.rest else [])]
    counts = np.array(rows).sum(axis=0)
    total = max(float(counts.sum()), 1.0)
    shares = counts / total
    noise = np.random.default_rng(seed).normal(0.0, profile.sigma * np.sqrt(len(rows)), (DRAWS, len(counts)))
    return shares, (noise - shares * noise.sum(axis=1, keepdims=True)) / total
