"""Lifetime value and uplift from spec to list: planned, built, looked at, approved, scored; and what stops a bad trial."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from audit import passport as passports
from tests.campaigns import NOT_IN_TRIAL, PERSUADABLE, WORTH, contract, launch
from tests.scenes import AS_OF, OFFICER, POLICY, SUBJECTS, Shop


@pytest.fixture(scope="module")
def campaign(made: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Both built and released."""
    shop = made.copy(tmp_path_factory.mktemp("campaign") / "shop")
    launch(shop)
    for segment in ("worth", "persuadable"):
        built = shop.run("build", segment)
        assert built.code == 0, built.err
        assert shop.run("approve", segment, by=OFFICER).code == 0
    return shop


@pytest.mark.slow
@pytest.mark.parametrize(
    ("segment", "part", "said"),
    [
        ("worth", "most valuable", ("Predicted against observed", "EUR counts as that", "concordance", "sum(amount)")),
        ("persuadable", "persuadable", ("Qini curve", "do not tell who was treated", "average effect", "bool_or(arm = &#39;letter&#39;)")),
    ],
)
def test_both_go_from_spec_to_list(campaign: Shop, segment: str, part: str, said: tuple[str, ...]) -> None:
    facts = campaign.newest(segment).facts
    [selected] = facts["parts"]
    assert selected["name"] == part
    assert selected["share"] == pytest.approx(0.3, abs=0.15)  # many score alike here, so that a bin holds a tenth of them
    assert [finding["attribute"] for finding in facts["fairness"]] == ["people.age"]
    page = (campaign.root / "reports" / f"{segment}.html").read_text()
    assert [words for words in said if words not in page] == []
    assert campaign.whole(segment)
    members = campaign.members(segment)
    often = campaign.pseudonyms(SUBJECTS[2::3])
    assert len(members & often) > 0.8 * len(members)


@pytest.mark.slow
def test_everything_that_an_uplift_read_is_in_its_evidence(campaign: Shop) -> None:
    folder = campaign.root / ".consentric" / "releases" / campaign.newest("persuadable").id
    passport, _ = passports.read((folder / "passport.json").read_bytes(), campaign.workspace().keys.signer.verifier)
    read = {each.feature: set(each.columns) for each in passport.read_sets}
    assert read["treatment"] == {"mailings.arm"}
    assert "label" not in read  # it counts rows, and the columns that select rows are named by themselves
    assert {"replies.on", "mailings.sent_on", "mailings.customer"} <= read["row selection"]
    shares = {charge.path.split("/")[1] for charge in passport.privacy.transcript}
    assert {"train", "scores", "curve", "sizes", "profiles", "flags", "fairness"} == shares


@pytest.mark.slow
def test_who_was_in_no_trial_may_be_persuadable_too(campaign: Shop) -> None:
    assert campaign.members("persuadable") & campaign.pseudonyms(NOT_IN_TRIAL)


@pytest.mark.slow
@pytest.mark.parametrize(("segment", "known"), [("worth", AS_OF), ("persuadable", AS_OF - dt.timedelta(days=30))])
def test_a_released_model_scores_the_people_of_another_day(campaign: Shop, segment: str, known: dt.date) -> None:
    """Of the day that features were known: before a campaign began, of an uplift."""
    before = campaign.members(segment)
    spent = campaign.spent()
    scored = campaign.run("segments", "score", segment, "--as-of", str(known))
    assert scored.code == 0, scored.err
    assert campaign.spent() == spent
    build = campaign.newest(segment)
    assert campaign.pseudonyms(campaign.inside(build.id)) == before
    assert campaign.run("reject", build.id, "--comment", "a test", by=OFFICER).code == 0


@pytest.mark.slow
def test_a_subject_is_told_how_both_decide(campaign: Shop) -> None:
    told = campaign.run("rights", "access", SUBJECTS[2], "--json", by=OFFICER)
    assert told.code == 0, told.err
    for words in ("predicts what you will bring", "predicts how much the campaign changes what you do", "spend (less the larger it is)"):
        assert words in told.out


@pytest.mark.slow
def test_a_campaign_that_was_not_randomised_is_refused(made: Shop, tmp_path: Path) -> None:
    shop = made.copy(tmp_path / "shop")
    launch(shop, random=False)
    refused = shop.run("build", "persuadable")
    assert refused.code == 3
    assert "trial-not-random" in refused.err
    assert "features tell who was treated" in refused.err


def test_a_treatment_is_judged_by_the_policy_as_any_column_is(made: Shop, tmp_path: Path) -> None:
    shop = made.copy(tmp_path / "shop")
    launch(shop)
    hidden = contract()
    hidden["tables"]["mailings"]["columns"]["arm"] = {"category": "user.location.imprecise"}
    shop.write("contracts", hidden)
    refused = shop.run("plan", "persuadable")
    assert refused.code == 3
    assert "mailings.arm" in refused.err
    assert "no-location" in refused.err


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (WORTH | {"label": {**WORTH["label"], "bounds": None, "scale": "linear"}}, "expected `bounds` of its number"),
        (WORTH | {"model": {"type": "value", "above": 500}}, "above: must lie within the label's bounds"),
        (WORTH | {"treatment": PERSUADABLE["treatment"]}, "treatment: is of an uplift alone"),
        (WORTH | {"model": {"type": "value"}}, "expected exactly one of `above` and `top`"),
        (PERSUADABLE | {"treatment": None}, "expected `table` and `agg`"),
        (PERSUADABLE | {"label": WORTH["label"]}, "expected a condition, without `bounds`"),
        (PERSUADABLE | {"treatment": {**PERSUADABLE["treatment"], "agg": "count(*)"}}, "treatment.agg"),
        (PERSUADABLE | {"treatment": {**PERSUADABLE["treatment"], "table": "people", "agg": "count(*) > 0"}}, "`event_time`"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(made: Shop, tmp_path: Path, changed: dict[str, object], said: str) -> None:
    shop = made.copy(tmp_path / "shop")
    launch(shop)
    shop.write("segments", json.loads(json.dumps({key: value for key, value in changed.items() if value is not None}, default=str)))
    refused = shop.run("plan", str(changed["name"]))
    assert refused.code == 2
    assert said in refused.err


@pytest.mark.slow
def test_approvals_may_ask_for_an_uplift_alone(made: Shop, tmp_path: Path) -> None:
    shop = made.copy(tmp_path / "shop")
    launch(shop)
    shop.write("policies", POLICY | {"approvals": {"required": 1, "models": ["uplift"]}})
    shop.write("segments", WORTH | {"fairness": []})  # whose verdict may ask for an approval of its own
    assert shop.run("build", "worth").code == 0
    assert shop.newest("worth").status.value == "released"
