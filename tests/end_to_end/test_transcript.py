"""What everything on the page cost stands in its privacy transcript, and that adds up to the ledger."""

from __future__ import annotations

from fractions import Fraction

import pytest

from governance import budget
from tests.scenes import Shop

SHOWN = {
    "groups": {"train", "profiles", "flags"},
    "returners": {"train", "scores", "curve", "profiles", "sizes", "flags", "fairness"},
}
"""What a page shows of each that was paid for: names, rules and effects were worked out of these."""

FREE = {
    "groups": ("names and ids of segments, out of train", "rules that tell segments apart, and drift, out of profiles"),
    "returners": ("the name of the segment, out of the spec", "effects of features, out of train"),
}


@pytest.mark.parametrize("segment", SHOWN)
def test_what_is_shown_stands_there_with_its_price(built: Shop, segment: str) -> None:
    lines = built.newest(segment).facts["report"]["privacy"]["transcript"]
    paid = {line["step"].split("/")[1] for line in lines if line["step"].startswith("all/")}
    assert paid == SHOWN[segment]
    assert all(line["mu_squared"] > 0 and line["draws"] > 0 for line in lines if line["step"].startswith("all"))
    free = {line["what"]: (line["mu_squared"], line["draws"]) for line in lines if line["step"] == "-"}
    assert all(free[what] == (0.0, 0) for what in FREE[segment])
    page = (built.root / "reports" / f"{segment}.html").read_text()
    assert all(what in page for what in (*free, "fairness tables" if "fairness" in paid else "distributions of features by segment"))


@pytest.mark.parametrize("segment", SHOWN)
def test_the_transcript_adds_up_to_the_ledger(built: Shop, segment: str) -> None:
    build = built.newest(segment)
    with built.workspace().store.read() as session:
        reservation, drawn = budget.find(session, build.reservation), budget.transcript(session, build.reservation)
    assert reservation is not None
    settled = next(e["facts"] for e in built.log() if e["action"] == "budget.settled" and e["facts"]["reservation"] == build.reservation)
    spent = sum((draw.mu_squared for draw in drawn), Fraction(0))
    assert spent == Fraction(settled["mu_squared"]) == reservation.mu_squared  # nothing of it was left unused
    lines = [line for line in build.facts["report"]["privacy"]["transcript"] if line["step"].startswith("all/")]
    assert [line["step"] for line in lines] == [draw.path for draw in drawn]
    assert sum(line["mu_squared"] for line in lines) == pytest.approx(float(spent))
    assert sum(line["draws"] for line in lines) == settled["draws"]
