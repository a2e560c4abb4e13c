"""Groups that a contract names: partners find out together how they fare, of whom each may read it; its own gate says what follows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit import joint_passport
from audit.fairness import Bounds, GroupTable, Verdict, judge
from engine import group_tables, outcome
from engine.bench import Bench
from engine.collaborations import contracts, running
from engine.collaborations.result import Result, told
from engine.collaborations.running import Ran
from engine.collaborations.status import ran_text, status_of
from engine.outcome import Outcome
from engine.partners import joining, participation, views
from engine.partners.participation import EndedError
from engine.partners.serving import Served
from engine.workspace import Workspace
from federated.cohort import FederatedCohort
from federated.contract import Agreed, Collaboration
from federated.rounds import finish
from governance.builds import Status
from governance.principals import UNSAFE_VARIABLE
from policies.parsing import DocumentError
from tests.fakes import ZeroNoise
from tests.joint import LEADER, leader
from tests.partnerships import NAME, House, at_work, contract_of, courier, houses, joined, signed
from tests.partnerships import outcome as outcome_of
from tests.scenes import CUSTOMERS, FAIR, GROUPS, OFFICER, POLICY, RETURNERS, SUBJECTS, Shop, run

AGES = ("young", "old")
SEGMENT = {**RETURNERS, "model": {"type": "propensity", "top": 0.3, "learner": "logistic"}, "privacy": {"epsilon": 6.0}}
AGREED: dict[str, Any] = {
    "spec": SEGMENT,
    "label": {"meaning": "buys again within 60 days"},
    "fairness": {"purpose": FAIR, "attributes": {"age": {"meaning": "below or above 40", "groups": list(AGES)}}},
}


@pytest.fixture(scope="module")
def template(made: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Whoever buys often is old, so that who is likely to come again is too; the policy refuses what fails."""
    shop = made.copy(tmp_path_factory.mktemp("template") / "shop")
    ages = [AGES[i % 3 == 2] for i in range(CUSTOMERS)]
    pq.write_table(pa.table({"customer": SUBJECTS, "age": ages}), shop.root / "data" / "people.parquet")
    shop.write("segments", SEGMENT)
    shop.write("policies", {**POLICY, "fairness": {**POLICY["fairness"], "on_fail": "refuse"}})
    return shop


@pytest.fixture(scope="module")
def made_houses(template: Shop, tmp_path_factory: pytest.TempPathFactory) -> list[House]:
    """Two of them; the second's policy asks a person to look at what fails."""
    two = houses(template, tmp_path_factory.mktemp("houses"))
    two[1].shop.write("policies", POLICY)
    return two


@pytest.fixture
def two(made_houses: list[House], tmp_path: Path) -> list[House]:
    return [House(house.shop.copy(tmp_path / house.name / "shop"), house.name) for house in made_houses]


@pytest.fixture(scope="module")
def found(made_houses: list[House], tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, list[House], Agreed, Ran]:
    """A run of all questions."""
    at = tmp_path_factory.mktemp("run")
    two = [House(house.shop.copy(at / house.name / "shop"), house.name) for house in made_houses]
    workspace, agreed = leader(at / "lead"), joined(two, "returners", **AGREED)
    (workspace.root / contracts.FOLDER).mkdir()
    (workspace.root / contracts.FOLDER / f"{NAME}.json").write_bytes(agreed.envelope)
    with at_work(two) as there:
        ran = running.run(Bench(workspace, ZeroNoise(), lambda _: None), agreed, courier(there))
    return workspace, two, agreed, ran


@pytest.mark.slow
def test_a_planted_unfairness_is_found_and_paid_within_the_contract(found: tuple[Workspace, list[House], Agreed, Ran]) -> None:
    _, two, agreed, ran = found
    result = ran.result
    (finding,) = result.fairness
    assert (finding.attribute, finding.verdict, result.verdict) == ("age", Verdict.FAIL, Verdict.FAIL)
    failing = {(row.group, row.measure.value) for row in finding.groups if row.verdict is Verdict.FAIL}
    assert ("young", "selection rate") in failing and finding.coverage > 0.97
    assert finding.proxy is not None and finding.proxy.verdict == "told" and finding.comparisons
    asked = [each.path.removeprefix(f"{NAME}/") for each in result.asked]
    assert asked[-3:] == ["fairness/tables", "fairness/means", "fairness/guesses"]
    for house in two:
        charged = house.shop.run("partner", "transcript", "show", NAME, "--json").data["entries"][-1]["epsilon"]
        assert charged == pytest.approx(agreed.contract.privacy.epsilon, rel=1e-9)


@pytest.mark.slow
def test_everybody_is_told_the_verdict_and_the_evidence_holds(found: tuple[Workspace, list[House], Agreed, Ran]) -> None:
    workspace, _, agreed, ran = found
    assert Result.parse(ran.result.canonical()) == ran.result and outcome.read(told(ran.result).canonical()).fairness == ran.result.fairness
    passport = joint_passport.read(ran.passport.read_bytes(), workspace.keys.signer.verifier)
    assert {(row.attribute, row.group) for row in passport.fairness} == {("age", age) for age in AGES}
    status = status_of(workspace, contracts.of(workspace, NAME))
    assert status.data["verdict"] == "fail" and "fairness fail (by age fail" in status.text
    assert "fairness fail (by age fail" in ran_text(agreed, ran)
    led = {"CONSENTRIC_WORKSPACE": str(workspace.root), UNSAFE_VARIABLE: LEADER}
    asked = run("audit", "ask", "joint-training", "--collaboration", NAME, "--json", env=led)
    assert asked.code == 0 and asked.data["answer"]["facts"]["fairness"] == [{"attribute": "age", "verdict": "fail"}], asked
    checked = run("collaboration", "check", str(ran.passport), "--key", workspace.keys.verifier_key)
    assert checked.code == 0 and "fairness by age: fail" in checked.out
    page = ran.page.read_text()
    for words in (
        "By age",
        "✕ fail",
        "below or above 40",
        "true positive rate",
        "Do the features stand for it?",
        "what the contract asks for",
    ):
        assert words in page, words
    assert "<script" not in page


@pytest.mark.slow
def test_each_partners_own_gate_says_what_follows(found: tuple[Workspace, list[House], Agreed, Ran]) -> None:
    _, (refusing, asking), _, ran = found
    assert not ran.silent  # who refuses a release has the model all the same, and says so
    no, yes = (house.shop.newest("returners") for house in (refusing, asking))
    assert no.status is Status.REFUSED and no.facts["rules"] == ["fairness-gate"] and no.facts["verdict"] == "fail"
    assert not (refusing.shop.root / ".consentric" / "builds" / no.id / "membership.parquet").exists()
    assert yes.status is Status.QUARANTINED and yes.facts["required"] == 1 and yes.facts["verdict"] == "fail"
    assert {row["group"] for row in json.loads(yes.facts["passport"])["fairness"]} == {*AGES}
    shown = asking.shop.run("fairness", "returners", "--json")
    assert shown.code == 0 and shown.data["verdict"] == "fail" and shown.data["findings"][0]["attribute"] == "age"
    ended = views.served(refusing.shop.workspace(), NAME, Served(17, no))[1]
    assert "the fairness verdict of all partners is fail, and the policy refuses that: age: fail" in ended
    assert "age: fail" in refusing.shop.run("fairness", "returners").out
    asked = asking.shop.run("audit", "ask", "group-differences", "--segment", "returners", by=OFFICER)
    assert asked.code == 0 and "verdict of the build: fail" in asked.out
    with pytest.raises(EndedError, match="refused"), refusing.participation(ZeroNoise()):
        pass


@pytest.mark.slow
def test_who_may_not_be_read_for_fairness_is_in_no_group(two: list[House]) -> None:
    """Without noise the table shows it: they stay in the sums that are for advertising, and their group is unknown."""
    agreed = joined(two, "returners", **AGREED)
    silent, objecting = SUBJECTS[1], SUBJECTS[3]  # both of the second house, and both young
    assert two[1].shop.run("consent", "withdraw", silent, FAIR).code == 0
    asked = group_tables.Asked((2,), ((0,),), 1)
    model = json.dumps(
        {"centres": [[0, 0, 0]], "kind": "centres", "prototypes": [[0, 0, 0]], "weights": [1]}, separators=(",", ":")
    ).encode()
    with at_work(two, ZeroNoise()) as there:
        cohort = FederatedCohort(agreed, courier(there)).seeing(model)
        grants = cohort.grant().split(first=1, second=1)

        def counted(grant: str) -> list[int]:
            (table,) = group_tables.tables(cohort, asked, grants[grant], ZeroNoise())
            return [round(float(each)) for each in (*table.counts[:, 0, 0], table.unknown)]

        before = counted("first")
        assert two[1].shop.run("consent", "withdraw", objecting, FAIR).code == 0
        assert counted("second") == [before[0] - 1, before[1], before[2] + 1]
    admitted = [i for i in range(CUSTOMERS) if i % 5 != 4]
    assert before == [sum(i % 3 != 2 for i in admitted) - 1, sum(i % 3 == 2 for i in admitted), 1]


@pytest.mark.slow
def test_what_is_told_of_groups_is_believed_once_and_no_further_than_it_follows(two: list[House], monkeypatch: pytest.MonkeyPatch) -> None:
    """A partner that dies once its gate refused says all the same that it has the model, when it is told again."""
    for house in two:
        house.shop.write("segments", {**GROUPS, "fairness": SEGMENT["fairness"]})
    agreed = joined(two, fairness=AGREED["fairness"])
    counts = ((50.0, 900.0, 50.0), (900.0, 50.0, 50.0))
    unfair = judge(GroupTable("age", AGES, ("low", "middle", "high"), counts, 5.0), Bounds())
    assert unfair.verdict is Verdict.FAIL
    come = outcome_of().model_copy(update={"fairness": (unfair,)})
    renamed = tuple(replace(row, group="somebody") for row in unfair.groups)
    lies = (
        (),
        (replace(unfair, verdict=Verdict.PASS),),
        (replace(unfair, attribute="income"),),
        (replace(unfair, bounds=Bounds(min_ratio=0.01)),),
        (replace(unfair, groups=renamed),),
        (replace(unfair, groups=(), verdict=Verdict.INCONCLUSIVE),),
        (unfair, unfair),
    )

    def silent(what: Outcome) -> set[str]:
        return {*finish(agreed, courier(there), what.canonical())[1]}

    with monkeypatch.context() as dying:
        dying.setattr(participation, "Acknowledgement", None)
        dying.setattr(participation, "_end", lambda *_: None)
        with at_work(two) as there:
            assert all(silent(come.model_copy(update={"fairness": each})) == {"p0", "p1"} for each in lies)
            assert {house.shop.newest("groups").status for house in two} == {Status.BUILDING}
            assert silent(come) == {"p0", "p1"}
    assert [house.shop.newest("groups").status for house in two] == [Status.REFUSED, Status.QUARANTINED]
    with at_work(two) as there:
        assert silent(come.model_copy(update={"headline": "another"})) == {"p0", "p1"}
        assert silent(come) == set()
    with pytest.raises(EndedError, match="refused"), two[0].participation(ZeroNoise()):
        pass


def differing(two: Sequence[House], envelope: bytes, contract: Collaboration) -> str:
    with pytest.raises(DocumentError) as refused:
        joining.join(two[0].shop.workspace(), envelope, contract.digest(), "returners")
    return str(refused.value)


def test_whatever_is_declared_otherwise_is_refused_line_by_line(two: list[House]) -> None:
    contract = contract_of(two, **AGREED)
    envelope, shop = signed(two, contract), two[0].shop
    shop.write("segments", {**SEGMENT, "fairness": []})
    assert "fairness: got nothing, expected an attribute `age`: below or above 40, as `joint` says" in differing(two, envelope, contract)
    shop.write("segments", {**SEGMENT, "fairness": [*SEGMENT["fairness"], {"table": "people", "column": "customer"}]})
    assert "fairness.1.column: got `customer`, expected no such attribute" in differing(two, envelope, contract)
    shop.write("segments", SEGMENT)
    stricter = {"purpose": "essential.service", "min_ratio": 0.9, "max_gap": 0.05}
    shop.write(
        "policies", {**POLICY, "purposes": {**POLICY["purposes"], "essential.service": {"basis": {"eu": "consent"}}}, "fairness": stricter}
    )
    document = shop.workspace().contract("shop").model_dump(mode="json", by_alias=True)
    document["tables"]["people"]["columns"]["age"]["domain"] = ["old", "young"]
    shop.write("contracts", json.loads(json.dumps(document)))
    said = differing(two, envelope, contract)
    for words in (
        "tables.people.columns.age.domain: got `old, young`, expected `young, old`, in this order",
        f"fairness.purpose: got `essential.service`, expected `{FAIR}`",
        "fairness.min_ratio: got `0.9`, expected at most `0.8`",
        "fairness.max_gap: got `0.05`, expected at least `0.1`",
    ):
        assert words in said, said
    shop.write("policies", {name: each for name, each in POLICY.items() if name != "fairness"})
    assert f"got nothing, expected a gate with `purpose: {FAIR}`" in differing(two, envelope, contract)
