"""Ways to make segments of prototypes, from the spec to the page and to people who are scored later."""

from __future__ import annotations

import pytest

from tests.end_to_end.test_gates import changed
from tests.fakes import ZeroNoise
from tests.scenes import GROUPS, OFFICER, Shop

SHOWN = {
    "hierarchy": ("Prototypes on two features", "Hierarchy", "branch"),
    "map": ("Self-organising map", "areas of a self-organising map"),
}


@pytest.mark.slow
@pytest.mark.parametrize("method", SHOWN)
def test_a_method_is_built_shown_released_and_scored_with(shop: Shop, method: str) -> None:
    shop.write("segments", changed(GROUPS, model={"type": "clusters", "k": {"least": 2, "most": 4}, "method": method}))
    build = shop.build("groups", ZeroNoise())
    page = (shop.root / "reports" / "groups.html").read_text()
    assert all(text in page for text in SHOWN[method])
    assert build.facts["released_model"]["kind"] == method
    assert shop.run("approve", "groups", by=OFFICER).code == 0
    members = shop.run("segments", "members", "groups", "--json").data["members"]
    assert shop.run("segments", "score", "groups", "--as-of", str(GROUPS["as_of"])).code == 0
    assert shop.run("approve", "groups", by=OFFICER).code == 0
    assert shop.run("segments", "members", "groups", "--json").data["members"] == members
