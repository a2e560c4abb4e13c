"""The gates: what is denied is denied before it costs anything, with every reason, and with the right exit code."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from engine.settings import FILE
from governance.builds import Status
from governance.principals import UNSAFE_VARIABLE
from tests.fakes import ZeroNoise
from tests.scenes import ADS, ANALYST, CONTRACT, GROUPS, OFFICER, OTHER, POLICY, RETURNERS, SUBJECTS, Shop, purchases, run, write_consents

GARBAGE = b"\x00 this is no table \xff" * 99


def changed(document: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A document with other fields."""
    return copy.deepcopy(document) | changes


def asking_for_a_street() -> dict[str, Any]:
    """A segment that reads what its purpose does not allow."""
    features = GROUPS["features"] | {"streets": {"table": "purchases", "agg": "count(distinct street)", "bounds": [0, 9]}}
    return changed(GROUPS, features=features)


class TestDeniedColumn:
    def test_it_exits_3_and_names_column_rule_reason_and_remedy(self, shop: Shop) -> None:
        shop.write("segments", asking_for_a_street())
        for command in ("plan", "build"):
            denied = shop.run(command, "groups")
            assert denied.code == 3 and denied.out == ""
            for words in ("purchases.street", "no-location", "where somebody shops says where they live", "leave the column out"):
                assert words in denied.err
        (finding,) = shop.run("plan", "groups", "--json").data["refused"]
        assert finding["subject"] == "purchases.street" and finding["rule"] == "no-location" and finding["legal"] == "GDPR art. 5(1)(c)"

    def test_no_row_is_read_before(self, shop: Shop) -> None:
        """The same answer, word for word, where the file is garbage, or is not there at all."""
        shop.write("segments", asking_for_a_street())
        source = shop.root / "data" / "purchases.parquet"
        answers = [shop.run("build", "groups", "--json")]
        source.write_bytes(GARBAGE)
        answers.append(shop.run("build", "groups", "--json"))
        source.unlink()
        answers.append(shop.run("build", "groups", "--json"))
        assert len(set(answers)) == 1 and answers[0].code == 3
        shop.write("segments", GROUPS)
        assert shop.run("build", "groups").code == 2  # and what is allowed would have noticed

    def test_it_costs_nothing_and_is_in_the_log(self, shop: Shop) -> None:
        shop.write("segments", asking_for_a_street())
        before = shop.ledger()
        shop.run("build", "groups")
        assert shop.ledger() == before
        last = shop.log()[-1]
        assert last["action"] == "plan.refused" and last["facts"]["reasons"] == ["purchases.street: no-location"]

    def test_every_reason_comes_at_once(self, shop: Shop) -> None:
        document = asking_for_a_street()
        document["features"] |= {"age": {"table": "people", "agg": "count(age)", "bounds": [0, 9]}}
        shop.write("segments", document)
        found = shop.run("plan", "groups", "--json").data["refused"]
        assert {finding["rule"] for finding in found} >= {"no-location", "age-for-fairness"}

    def test_an_unknown_purpose_and_one_without_budget_are_denied(self, shop: Shop) -> None:
        for purpose in ("essential.service", "analytics.reporting"):
            shop.write("segments", changed(GROUPS, purpose=purpose))
            denied = shop.run("plan", "groups")
            assert denied.code == 3 and purpose in denied.err

    def test_an_unknown_destination_is_denied_at_build_and_at_export(self, out: Shop, tmp_path: Path) -> None:
        out.write("segments", changed(GROUPS, output={"destination": "brokers"}))
        assert out.run("build", "groups").code == 3
        out.write("segments", GROUPS)
        denied = out.run("segments", "export", "groups", "--to", str(tmp_path / "x.csv"), "--destination", "brokers")
        assert denied.code == 3 and "brokers" in denied.err and not (tmp_path / "x.csv").exists()


class TestBudget:
    def test_more_than_is_left_exits_4_and_the_ledger_is_as_it_was(self, built: Shop) -> None:
        left = built.run("budget", "--json").data["accounts"][1]["left"]
        built.write("segments", changed(GROUPS, privacy={"epsilon": round(left + 0.01, 4)}))
        before, entries = built.ledger(), len(built.log())
        for command in ("plan", "build"):
            refused = built.run(command, "groups", "--json")
            assert refused.code == 4 and "left" in refused.err and f"{left:g}" in refused.err
            json.loads(refused.out)
        assert built.ledger() == before
        assert {entry["action"] for entry in built.log()[entries:]} == {"plan.refused"}  # the asking is on record, and nothing else
        assert built.verify() == 0

    def test_all_that_is_left_can_be_spent_and_then_nothing_more(self, built: Shop) -> None:
        left = built.run("budget", "--json").data["accounts"][1]["left"]
        built.write("segments", changed(GROUPS, privacy={"epsilon": left}))
        assert built.build("groups", ZeroNoise()).status is Status.QUARANTINED
        assert built.run("budget", "--json").data["accounts"][1]["left"] < 0.01
        built.write("segments", changed(GROUPS, privacy={"epsilon": 0.01}))
        before = built.ledger()
        assert built.run("build", "groups").code == 4
        assert built.ledger() == before

    def test_the_cap_binds_where_the_allocation_would_not(self, shop: Shop) -> None:
        policy = changed(POLICY)
        policy["budgets"]["cap"] = {"epsilon": 1.5}
        shop.write("policies", policy)
        before = shop.ledger()
        refused = shop.run("build", "groups")
        assert refused.code == 4 and "cap" in refused.err
        assert shop.ledger() == before

    def test_a_snapshot_that_cannot_be_paid_is_not_taken(self, shop: Shop) -> None:
        policy = changed(POLICY)
        policy["budgets"]["snapshot"]["epsilon"] = 50
        shop.write("policies", policy)
        before = shop.ledger()
        assert shop.run("plan", "groups").code == 4
        assert shop.ledger() == before

    def test_looking_again_costs_nothing(self, shop: Shop) -> None:
        assert shop.run("plan", "groups").code == 0
        before = shop.ledger()
        for words in (("plan", "groups"), ("plan", "returners"), ("budget",), ("plan", "groups", "--compare", "0.5,1,2")):
            assert shop.run(*words).code == 0
        assert shop.ledger() == before

    def test_a_failed_build_stays_spent_and_one_that_drew_nothing_does_not(self, shop: Shop) -> None:
        class Broken:
            """Fails at the n-th draw."""

            def __init__(self, good: int) -> None:
                self.good = good

            def draw(self, sigma: float, size: int) -> Any:
                self.good -= 1
                if self.good < 0:
                    raise OSError(5, "no randomness")
                return ZeroNoise().draw(sigma, size)

        assert shop.run("plan", "groups").code == 0
        before = shop.spent()
        with pytest.raises(OSError, match="no randomness"):
            shop.build("groups", Broken(2))
        assert shop.newest("groups").status is Status.FAILED
        assert shop.spent() > before
        assert all("reserved" not in row for row in shop.ledger().reservations)


class TestApproval:
    def test_whoever_built_does_not_approve(self, built: Shop) -> None:
        built.appoint(officers=[ANALYST, OFFICER])
        refused = built.run("approve", "returners", by=ANALYST)
        assert refused.code == 3 and "builder-may-not-approve" in refused.err
        assert built.status(built.newest("returners").id) is Status.QUARANTINED
        assert built.log()[-1]["action"] == "access.denied"
        assert built.run("segments", "members", "returners").code == 3
        assert not list((built.root / ".consentric" / "releases").glob("*"))

    def test_one_person_counts_once_where_two_are_needed(self, shop: Shop) -> None:
        shop.write("policies", changed(POLICY, approvals={"required": 2}))
        build = shop.build("groups", ZeroNoise()).id
        assert shop.run("approve", "groups", by=OFFICER).code == 0
        assert shop.status(build) is Status.QUARANTINED
        assert shop.run("approve", "groups", by=OFFICER).code == 3
        assert shop.run("approve", "groups", by=ANALYST).code == 3
        assert shop.status(build) is Status.QUARANTINED
        assert shop.run("approve", "groups", by=OTHER).code == 0
        assert shop.status(build) is Status.RELEASED

    def test_what_was_rejected_stays_in(self, built: Shop) -> None:
        build = built.newest("returners").id
        assert built.run("reject", "returners", "-m", "too broad", by=OFFICER).code == 0
        assert built.run("approve", "returners", by=OTHER).code == 3
        assert built.status(build) is Status.REJECTED
        assert not (built.root / ".consentric" / "builds" / build).exists()

    def test_a_segment_that_needs_no_approval_is_released_by_its_build(self, shop: Shop) -> None:
        shop.write("policies", changed(POLICY, approvals={"required": 1, "models": ["propensity"]}))
        assert shop.build("groups", ZeroNoise()).status is Status.RELEASED
        assert len(shop.members("groups")) == 2400

    def test_each_entry_says_that_the_principal_was_claimed(self, built: Shop) -> None:
        assert {(entry["principal"], entry["unsafe_principal"]) for entry in built.log()} == {(ANALYST, True)}


class TestPrincipal:
    @pytest.fixture
    def real(self, tmp_path: Path) -> Shop:
        """A workspace that is no demo."""
        assert run("init", str(tmp_path / "real")).code == 0
        shop = Shop(tmp_path / "real")
        shop.furnish()
        return shop

    @pytest.mark.parametrize(
        "words", [("plan", "groups"), ("build", "groups"), ("approve", "groups"), ("consent", "withdraw", "1"), ("audit", "log")]
    )
    def test_a_claimed_principal_is_refused_outside_a_demo(self, real: Shop, words: tuple[str, ...]) -> None:
        refused = real.run(*words, by=OFFICER)
        assert refused.code == 3 and UNSAFE_VARIABLE in refused.err and refused.out == ""

    def test_a_workspace_cannot_be_turned_into_a_demo_later(self, real: Shop) -> None:
        file = real.root / FILE
        file.write_text(file.read_text().replace("demo = false", "demo = true "))
        assert "demo = true" in file.read_text()
        refused = real.run("plan", "groups", by=OFFICER)
        assert refused.code in (2, 3) and "demo" in refused.err

    def test_without_a_claim_it_is_the_operating_systems_user(self, real: Shop) -> None:
        import getpass

        at = str(real.root)
        assert run("consent", "import", str(real.root / "data" / "consents.csv"), "-w", at).code == 0
        entries = run("audit", "log", "--json", "-w", at).data["entries"]
        assert {entry["principal"] for entry in entries} == {getpass.getuser()}
        assert not any("unsafe_principal" in entry for entry in entries)


class TestFloor:
    def test_an_empty_table_is_refused_by_the_floor(self, shop: Shop) -> None:
        pq.write_table(purchases().slice(0, 0), shop.root / "data" / "purchases.parquet")
        for segment in ("groups", "returners"):
            refused = shop.run("build", segment)
            assert refused.code == 3 and "cohort-floor" in refused.err and refused.out == ""

    def test_nobody_admitted_is_refused_by_the_floor(self, shop: Shop) -> None:
        shop.withdraw(SUBJECTS)
        refused = shop.run("build", "returners")
        assert refused.code == 3 and "cohort-floor" in refused.err

    def test_no_consent_at_all_is_refused_by_the_floor(self, tmp_path: Path) -> None:
        run("init", str(tmp_path / "shop"), "--demo", env={UNSAFE_VARIABLE: ANALYST})
        shop = Shop(tmp_path / "shop")
        shop.furnish()
        assert "cohort-floor" in (refused := shop.run("build", "groups")).err and refused.code == 3

    def test_just_below_the_floor_is_refused_and_the_count_shown_is_noisy(self, tmp_path: Path) -> None:
        run("init", str(tmp_path / "shop"), "--demo", env={UNSAFE_VARIABLE: ANALYST})
        shop = Shop(tmp_path / "shop")
        shop.furnish()
        write_consents(few := tmp_path / "few.csv", [f"person-{number:05d}" for number in range(125)])  # 100 of them say yes
        shop.run("consent", "import", str(few))
        refused = shop.run("plan", "groups")
        assert refused.code == 3 and "cohort-floor" in refused.err

    def test_a_forecast_of_noise_is_refused(self, shop: Shop) -> None:
        shop.write("segments", changed(GROUPS, privacy={"epsilon": 0.01}, model={"type": "clusters", "k": 8}))
        refused = shop.run("build", "groups")
        assert refused.code == 3 and "forecast-noise" in refused.err

    def test_small_segments_are_merged_and_the_page_says_so(self, shop: Shop) -> None:
        shop.write("policies", changed(POLICY, cohort_floor=600))
        shop.write("segments", changed(GROUPS, model={"type": "clusters", "k": 4}))
        build = shop.build("groups", ZeroNoise())
        parts = build.facts["parts"]
        assert 1 < len(parts) < 4 and not any(part["withheld"] for part in parts)
        assert sum("groups in one" in part["description"] for part in parts) == 1
        assert sum(part["size"] for part in parts) == pytest.approx(len(shop.inside(build.id)))

    def test_outliers_below_the_floor_are_withheld(self, shop: Shop) -> None:
        shop.write("segments", changed(GROUPS, model={"type": "clusters", "k": 3, "method": "density"}))
        build = shop.build("groups", ZeroNoise())
        assert [part["name"] for part in build.facts["parts"] if part["withheld"]] == ["outliers"]
        shop.run("approve", "groups", by=OFFICER)
        shown = {row["segment"] for row in shop.run("segments", "members", "groups", "--json").data["members"]}
        assert len(shown) == 3 and "outliers" not in shown

    def test_many_segments_need_a_reason(self, shop: Shop) -> None:
        shop.write("policies", changed(POLICY, most_segments=3))
        asked = {"type": "clusters", "k": {"least": 2, "most": 4}}
        shop.write("segments", changed(GROUPS, model=asked))
        refused = shop.run("plan", "groups")
        assert refused.code == 3 and "most-segments" in refused.err and "`model.why`" in refused.err
        shop.write("segments", changed(GROUPS, model=asked | {"why": "a letter for each habit"}))
        assert shop.run("plan", "groups").code == 0


class TestFairness:
    def test_a_verdict_that_the_policy_refuses_exits_5_and_nothing_is_kept(self, shop: Shop) -> None:
        policy = changed(POLICY)
        policy["fairness"] |= {"on_inconclusive": "refuse", "on_fail": "refuse", "min_ratio": 1.0, "max_gap": 0.001}
        shop.write("policies", policy)
        refused = shop.run("build", "returners")
        assert refused.code == 5 and "fairness-gate" in refused.err
        build = shop.newest("returners")
        assert build.status is Status.REFUSED
        assert not (shop.root / ".consentric" / "builds" / build.id).exists()
        assert shop.run("approve", "returners", by=OFFICER).code == 3
        assert shop.log()[-1]["action"] == "build.refused"

    def test_attributes_are_read_for_fairness_alone(self, built: Shop) -> None:
        columns = {column["column"]: column for column in built.run("plan", "returners", "--json").data["columns"]}
        assert columns["people.age"]["fairness"] and columns["people.age"]["for"] == ["fairness"]
        assert "people" not in built.run("plan", "returners", "--json").data["sql"]


class TestPlan:
    @pytest.mark.parametrize(
        ("folder", "document"),
        [
            ("contracts", changed(CONTRACT, description="another")),
            ("policies", changed(POLICY, version="2")),
            ("segments", changed(RETURNERS, description="another")),
        ],
    )
    def test_a_plan_pins_its_documents(self, built: Shop, folder: str, document: dict[str, Any]) -> None:
        plan = built.run("plan", "returners", "--json").data["plan"]
        built.write(folder, document)
        built.write("segments", changed(RETURNERS, privacy={"epsilon": 1.0}) | ({"description": "another"} if folder == "segments" else {}))
        refused = built.run("build", "returners", "--plan", plan)
        assert refused.code == 3 and "plans-pin-their-documents" in refused.err

    def test_an_unknown_plan_is_a_usage_error(self, built: Shop) -> None:
        assert built.run("build", "returners", "--plan", "nonsense").code == 2
        plan = built.run("plan", "groups", "--json").data["plan"]
        assert built.run("build", "returners", "--plan", plan).code == 2

    def test_a_plan_shows_columns_people_budget_accuracy_changes_and_sql(self, shop: Shop) -> None:
        data = shop.run("plan", "returners", "--json").data
        assert {column["column"] for column in data["columns"]} == {
            "purchases.customer", "purchases.bought_on", "purchases.amount", "people.customer", "people.age"
        }  # fmt: skip
        assert data["purpose"] == ADS and data["privacy"]["asked"] == 2.0
        assert data["privacy"]["accounts"][1]["left"] < 8 and data["forecast"]["verdict"] in ("good", "fair")
        assert "street" not in data["sql"] and "basket" not in data["sql"]
        assert data["changes"] == ["this is the first plan of the segment"]
        shop.write("segments", changed(RETURNERS, privacy={"epsilon": 1.0}))
        assert shop.run("plan", "returners", "--json").data["changes"] == ["the spec has changed since the last plan"]
