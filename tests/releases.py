"""What a last release left, for tests of what is compared with it: three segments of the shop's features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from audit.explanation_page import Named
from audit.report import Profile
from engine.lineage import Last
from engine.scale import Scale
from governance.builds import BuildId
from policies.segment import Segment
from tests.scenes import GROUPS

Centres = Sequence[Sequence[float]]
FEATURES = ("recency", "frequency", "spend")
WIDE = {"recency": Scale(0, 181), "frequency": Scale(0, 40, log=True), "spend": Scale(0, 500, log=True)}
OLD = ((10.0, 14.0, 24.0), (70.0, 6.0, 160.0), (130.0, 2.0, 37.0))
NAMES = ("recent", "high spend", "lapsing")


def spec(**more: Any) -> Segment:
    return Segment.model_validate({**GROUPS, **more})


def profiles(centres: Centres) -> list[Profile]:
    """Centres alone, in the unit of each feature."""
    return [Profile(name, "", tuple(centre[place] for centre in centres)) for place, name in enumerate(FEATURES)]


def last(centres: Centres = OLD, names: Sequence[str] = NAMES, before: Segment | None = None, highest: int = 3) -> Last:
    parts = tuple(Named(f"S{place}", name) for place, name in enumerate(names, 1))
    known = {profile.feature: profile for profile in profiles(centres)}
    return Last(BuildId("b"), before or spec(), FEATURES, {}, parts, (1.0,) * len(parts), 1.0, known, highest, True)
