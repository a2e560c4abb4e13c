"""Confidence intervals for rates of noisy counts, and for their differences and ratios.

A rate is s/(s + f) of two counts of disjoint sets of subjects, each known as count + Gaussian noise. Under a true rate p
the statistic (1 - p)s - pf has mean 0 and variance np(1 - p) + (1 - p)²σs² + p²σf² (sampling, then noise; the noises
are independent because the sets are disjoint). The interval holds every p whose statistic lies within z standard
deviations, with n from the noisy counts: without noise it is Wilson's (1927). Pairs are combined by MOVER, differences
after Newcombe (1998), method 10, ratios after Donner and Zou (2012), section 2.3; both take the two ends of each rate's
interval, so sampling and noise come along. Not here: what is compared, and what it means (`audit.fairness`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate, and the ends of its interval: low <= value <= high."""

    value: float
    low: float
    high: float


def critical(confidence: float, comparisons: int = 1) -> float:
    """Two-sided normal quantile at which `comparisons` intervals hold together with `confidence` (Bonferroni: however they depend)."""
    return NormalDist().inv_cdf(1 - (1 - confidence) / (2 * comparisons))


def rate(successes: float, failures: float, sigma_successes: float, sigma_failures: float, z: float) -> Interval:
    """The rate of noisy `successes` among both; sigmas in subjects. [0, 1] where the noise drowns the count.

    Counts below zero are taken as zero, which only widens the interval.
    """
    s, f = max(successes, 0.0), max(failures, 0.0)
    n = s + f
    if n <= 0:
        return Interval(0.5, 0.0, 1.0)
    noise_s, noise_f = sigma_successes**2, sigma_failures**2
    square = n * n + z * z * (n - noise_s - noise_f)
    if square <= 0:
        return Interval(s / n, 0.0, 1.0)
    half = s * n + z * z * (n / 2 - noise_s)
    root = math.sqrt(max(0.0, half * half - square * (s * s - z * z * noise_s)))
    value = s / n
    return Interval(value, min(value, max(0.0, (half - root) / square)), max(value, min(1.0, (half + root) / square)))


def mean(total: float, count: float, square: float, sigma_total: float, sigma_count: float, z: float) -> Interval:
    """The mean g, within ±1, of what adds up to noisy `total` over noisy `count`; `square`: mean of its squares, or more.

    The noises must not be correlated. As for rates, every g is held whose statistic total − g·count, of variance
    n(square − g²) + σt² + g²σn², lies within z standard deviations (Fieller 1954). [-1, 1] where the noise drowns the count.
    """
    n = max(count, 0.0)
    if n <= 0:
        return Interval(0.0, -1.0, 1.0)
    value = min(1.0, max(-1.0, total / n))
    leading = n * n + z * z * (n - sigma_count**2)
    if leading <= 0:
        return Interval(value, -1.0, 1.0)
    root = math.sqrt(max(0.0, (total * n) ** 2 - leading * (total * total - z * z * (n * square + sigma_total**2))))
    return Interval(value, max(-1.0, min(value, (total * n - root) / leading)), min(1.0, max(value, (total * n + root) / leading)))


def difference(first: Interval, second: Interval) -> Interval:
    """first - second, of independent rates."""
    value = first.value - second.value
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    return Interval(value, value - below, value + above)


def ratio(first: Interval, second: Interval) -> Interval:
    """first / second, of independent rates: every θ for which the interval of first - θ·second holds 0. Ends may be infinite."""
    product = first.value * second.value
    square, constant = second.high * (2 * second.value - second.high), first.low * (2 * first.value - first.low)
    root = math.sqrt(max(0.0, product * product - square * constant))
    low = constant / (product + root) if product + root > 0 else 0.0
    square, constant = second.low * (2 * second.value - second.low), first.high * (2 * first.value - first.high)
    root = math.sqrt(max(0.0, product * product - square * constant))
    high = (product + root) / square if square > 0 else math.inf
    value = first.value / second.value if second.value > 0 else math.inf
    return Interval(value, min(low, value), max(high, value))
