"""Treatments and numeric labels are expressions as features are: the same evasions, in their places, are refused before a row is read."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from governance.expressions import ExpressionError, compile_segment
from governance.minimise import prepare
from governance.reads import MinimisationError
from policies.segment import Segment
from tests.attacks.test_minimisation_evasion import GRANTED, NOW, corpus, workspace

HONEST = {
    "label": {"table": "tx", "agg": "count(*) > 1", "after": "30d"},
    "treatment": {"table": "tx", "agg": "bool_or(amount > 1)", "window": "30d"},
}
NUMBER = {"label": {"table": "tx", "agg": "sum(amount)", "after": "30d", "bounds": [0, 10]}}


def asking(spec: Segment, place: str, agg: str) -> Segment:
    """`spec` with `agg` as its treatment, its condition or its number."""
    if place == "number":
        wanted: dict[str, Any] = {"model": {"type": "value", "top": 0.1}, "label": NUMBER["label"] | {"agg": agg}}
    else:
        wanted = HONEST | {place: HONEST[place] | {"agg": agg}} | {"model": {"type": "uplift", "top": 0.1}}
    return Segment.model_validate(spec.model_dump() | wanted)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["treatment", "label", "number"])
def test_each_attempt_is_refused_in_every_place(place: str, tmp_path: Path) -> None:
    contract, spec = workspace(tmp_path)
    for text, reason, *_ in (attempt for attempts in corpus().values() for attempt in attempts):
        attempt = text.replace("{file}", "tx.parquet")
        if not 0 < len(attempt) <= 2000:
            continue  # no document
        if place != "number" and reason == "a number, got null":
            assert not next(each for each in compile_segment(contract, asking(spec, place, attempt)) if each.name == place).reads
        else:
            with pytest.raises(ExpressionError) as refused:
                compile_segment(contract, asking(spec, place, attempt))
            assert refused.value.feature == ("label" if place == "number" else place), text


@pytest.mark.parametrize(
    ("place", "agg"),
    [
        ("treatment", "bool_or(email = 'x')"),
        ("treatment", "count(*) filter (where email like 's%') > 0"),
        ("treatment", "case when count(email) > 0 then true end"),
        ("label", "max(email) = 'x'"),
        ("number", "sum(case when email = 'x' then amount end)"),
        ("number", "n_distinct(email)"),
    ],
)
def test_a_column_without_grant_is_refused_before_anything_is_read(tmp_path: Path, place: str, agg: str) -> None:
    contract, spec = workspace(tmp_path)
    (tmp_path / "tx.parquet").unlink()
    with pytest.raises(MinimisationError, match=r"`tx\.email`"):
        prepare(contract, asking(spec, place, agg), GRANTED, lambda name: tmp_path / name, NOW)


def test_a_treatment_cannot_see_what_comes_after(tmp_path: Path) -> None:
    """Otherwise whoever acted would count as treated, and the treatment would look like its cause."""
    contract, spec = workspace(tmp_path)
    prepared = prepare(contract, asking(spec, "treatment", "count(*) > 5"), GRANTED, lambda name: tmp_path / name, NOW)
    rows = dict(prepared.selection.rows)
    assert f"\"bought_on\" < DATE '{dt.date(2024, 1, 1)}'" in rows['campaign."tx"']
    assert f"\"bought_on\" < DATE '{dt.date(2023, 12, 2)}'" in rows['features."tx"']  # which is where the campaign begins
    assert not any("TREATMENT" in sql.upper() for sql in rows.values())
