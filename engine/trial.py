"""Whether a trial can teach an uplift: both arms are large enough to be seen, and features do not tell who is in which.

Everything here works on released values (`engine.trainers.uplift.Balance`).
"""

from __future__ import annotations

from engine.gates import Refused, refusal
from engine.trainers.uplift import Balance
from engine.wanted import Wanted

UNLIKELY = 0.001
"""Chance of arms as different as these, drawn at random, below which the page says that they are not alike."""

TOLD = 0.6
"""How well features may tell the arm, as an AUC, before nothing that is learned from comparing the arms can be believed."""

SEEN = 5.0
"""Standard deviations of noise that an arm must hold, or there is no trial to learn from."""


def gate(wanted: Wanted, balance: Balance) -> None:
    """Raises Refused where the trial cannot teach: an arm is too small to be seen, or the arms were not drawn at random."""
    if min(balance.subjects) <= SEEN * balance.sigma:
        smallest = max(min(balance.subjects), 0.0)
        raise _refused(
            wanted,
            "trial-noise",
            "noise hides one of the arms, so that they cannot be compared",
            f"subjects of the smaller arm > {SEEN * balance.sigma:,.0f}, got about {smallest:,.0f}",
            "look whether `treatment` is true for whoever was treated and false for the control group, or ask for more ε",
        )
    if balance.chance < UNLIKELY and balance.told > TOLD:
        raise _refused(
            wanted,
            "trial-not-random",
            "features tell who was treated, so that the arms were not drawn at random and their difference says nothing of the treatment",
            f"AUC of the arm by features <= {TOLD}, got about {balance.told:.2f}",
            "learn from a randomised campaign, and from features of before it",
        )


def words(balance: Balance) -> str:
    """Who took part, and whether arms were alike."""
    control, treated = balance.subjects
    margin = 1.96 * balance.sigma
    words = f"of those who trained the model, {treated:,.0f} were treated and {control:,.0f} were not, each ± {margin:,.0f}; "
    if balance.chance >= UNLIKELY:
        return words + "features do not tell who was treated, as it should be where arms are drawn at random"
    return words + (
        f"features tell who was treated, if little (AUC {balance.told:.2f}): the arms may not have been drawn at random, "
        "and then part of the uplift is a difference between people"
    )


def _refused(wanted: Wanted, rule: str, reason: str, condition: str, remedy: str) -> Refused:
    return refusal(wanted.name, rule, wanted.digest, reason, condition, remedy)
