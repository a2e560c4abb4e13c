"""Whoever asks is told why a score says of them what it says: by what was released and their own figures."""

from __future__ import annotations

import numpy as np
import pytest

from engine.models import Explained, released
from engine.reasons import reasons
from engine.release import find
from tests.scenes import OFFICER, REFUSING, SUBJECTS, Shop

USED = next(subject for subject in SUBJECTS if subject not in REFUSING)


@pytest.mark.slow
def test_an_answer_says_what_each_figure_of_the_subject_adds(out: Shop) -> None:
    workspace = out.workspace(OFFICER)
    build = find(workspace, "returners")
    told = reasons(workspace, build, USED)
    model = released(build.facts["released_model"])
    assert isinstance(model, Explained)
    assert {name for name, _ in told} == set(build.facts["features"])
    assert [abs(adds) for _, adds in told] == sorted((abs(adds) for _, adds in told), reverse=True)
    assert all(abs(adds) < 2 * np.abs(model.curves()).max() for _, adds in told)
    answer = out.run("rights", "access", USED, "--json", by=OFFICER)
    logic = next(one["logic"] for one in answer.data["processing"] if one["segment"] == "returners")
    assert f"For you, against an average person, in log-odds: {told[0][0]} " in logic
    assert "For you" not in next(one["logic"] for one in answer.data["processing"] if one["segment"] == "groups")


@pytest.mark.slow
def test_of_whom_may_not_be_used_nothing_is_computed(out: Shop) -> None:
    workspace = out.workspace(OFFICER)
    assert reasons(workspace, find(workspace, "returners"), min(REFUSING)) == ()


@pytest.mark.slow
def test_of_what_is_not_released_nothing_is_told(built: Shop) -> None:
    workspace = built.workspace(OFFICER)
    assert reasons(workspace, find(workspace, "returners"), USED) == ()
