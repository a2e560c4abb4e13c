"""What people get wrong: each mistake has one clear answer with its place, and the right exit code."""

from __future__ import annotations

import copy
import datetime as dt
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.scenes import ADS, GROUPS, OFFICER, POLICY, RETURNERS, Shop

Change = Callable[[dict[str, Any]], object]


def with_change(document: dict[str, Any], change: Change) -> dict[str, Any]:
    changed = copy.deepcopy(document)
    change(changed)
    return changed


def expression(agg: str) -> Change:
    return lambda spec: spec["features"]["spend"].update(agg=agg)


class TestSegments:
    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (expression("sum(amuont)"), ("features.spend.agg", "`amuont`", "amount")),
            (expression("amount"), ("features.spend.agg", "inside an aggregate")),
            (expression("max(basket)"), ("features.spend.agg", "a number, got text")),
            (expression("sum(amount"), ("features.spend.agg", "one SQL expression")),
            (expression("(select 1)"), ("features.spend.agg", "feature language")),
            (lambda spec: spec["features"]["spend"].update(table="purchase"), ("`purchase`", "purchases")),
            (lambda spec: spec.update(as_of=dt.date(2999, 1, 1)), ("as_of", "`2999-01-01`", "up to tomorrow")),
        ],
    )
    def test_file_line_field_got_and_expected(self, shop: Shop, change: Change, said: tuple[str, ...]) -> None:
        path = shop.write("segments", with_change(GROUPS, change))
        before = shop.ledger()
        answer = shop.run("plan", "groups")
        assert answer.code == 2 and answer.out == "" and "fault inside" not in answer.err
        message = answer.err.splitlines()[-1]
        assert all(words in message for words in ("segments/groups.yaml:", "got ", "expected ", *said)), message
        line = int(message.split("segments/groups.yaml:")[1].split(":")[0])
        assert 1 <= line <= len(path.read_text().splitlines())
        assert shop.ledger() == before

    def test_a_label_must_have_had_its_time(self, shop: Shop) -> None:
        shop.write("segments", with_change(RETURNERS, lambda spec: spec["label"].update(after="40000d")))
        answer = shop.run("plan", "returners")
        assert answer.code == 2 and "label.after" in answer.err and "a window that has ended" in answer.err

    def test_the_line_is_that_of_the_expression(self, shop: Shop) -> None:
        path = shop.write("segments", with_change(GROUPS, expression("sum(amuont)")))
        line = 1 + [("amuont" in text) for text in path.read_text().splitlines()].index(True)
        assert f"segments/groups.yaml:{line}: features.spend.agg" in shop.run("plan", "groups").err

    def test_noise_says_which_budget_would_do(self, shop: Shop) -> None:
        shop.write("segments", with_change(GROUPS, lambda spec: spec["privacy"].update(epsilon=0.002)))
        denied = shop.run("plan", "groups", "--json")
        assert denied.code == 3
        (finding,) = denied.data["refused"]
        assert finding["rule"] == "forecast-noise" and re.search(r"; at ε [0-9.]+: clusters expected", finding["remedy"])


class TestPolicyCheck:
    def test_all_is_well(self, shop: Shop) -> None:
        assert shop.run("policy", "check").code == 0

    def test_denials_exit_3_and_name_the_cause(self, shop: Shop) -> None:
        def forget_purchases(policy: dict[str, Any]) -> None:
            policy["rules"] = [rule for rule in policy["rules"] if "user.behavior.purchase_history" not in rule["categories"]]

        shop.write("policies", with_change(POLICY, forget_purchases))
        answer = shop.run("policy", "check", "--json")
        states = {row["document"]: row["state"] for row in answer.data["documents"]}
        assert answer.code == 3 and states["segments/groups.yaml"].startswith("denied: ") and "no permit" in states["segments/groups.yaml"]

    def test_mistakes_exit_2_and_each_has_its_line(self, shop: Shop) -> None:
        shop.write("segments", with_change(GROUPS, lambda spec: spec.update(model={"type": "clusters", "k": 1}, privacy={"epsilon": 0})))
        answer = shop.run("policy", "check", "--json")
        states = [row["state"] for row in answer.data["documents"] if row["document"] == "segments/groups.yaml"]
        assert answer.code == 2 and len(states) == 2 and all("\n" not in state for state in states)

    def test_explain_wants_table_and_column(self, shop: Shop) -> None:
        options = ("--dataset", "shop", "--policy", "rules", "--purpose", ADS)
        assert shop.run("policy", "explain", "street", *options).code == 2
        denied = shop.run("policy", "explain", "purchases.street", *options, "--json")
        assert denied.code == 0 and denied.data["allowed"] is False


class TestOthers:
    def test_somebodys_draft_hides_nobodys_account(self, shop: Shop) -> None:
        (shop.root / "segments" / "draft.yaml").write_text("kind: segment\nname: draft\n")
        (shop.root / "segments" / "folder.yaml").mkdir()
        answer = shop.run("budget", "--json")
        assert answer.code == 0 and len(answer.data["accounts"]) == 2
        assert all(problem.startswith("segments/draft.yaml:") for problem in answer.data["problems"]) and answer.data["problems"]
        assert "not read: segments/draft.yaml:" in shop.run("budget").out

    def test_a_workspace_without_segments_has_no_account(self, shop: Shop) -> None:
        for path in (shop.root / "segments").iterdir():
            path.unlink()
        assert "no account yet" in shop.run("budget").out

    def test_schema_is_json_with_and_without_json(self, shop: Shop) -> None:
        assert shop.run("schema", "segment", "--json").data == json.loads(shop.run("schema", "segment").out)

    def test_a_negative_number_of_entries_is_a_mistake(self, shop: Shop) -> None:
        assert shop.run("audit", "log", "--last", "-3").code == 2

    def test_consent_to_a_purpose_of_no_policy_is_kept_and_remarked(self, shop: Shop) -> None:
        answer = shop.run("consent", "grant", "person-00001", "marketing.communications.email")
        assert answer.code == 0 and "serves nothing yet" in answer.err
        assert "serves nothing" not in shop.run("consent", "grant", "person-00001", ADS).err

    def test_escape_sequences_in_consents_stay_text(self, shop: Shop) -> None:
        shop.run("consent", "grant", "person-00001", ADS, "--notice", "\x1b[2Jv1")
        shown = shop.run("consent", "show", "person-00001", by=OFFICER)
        assert shown.code == 0 and "\x1b" not in shown.out and "\\x1b[2Jv1" in shown.out


class TestExport:
    def test_a_folder_that_is_not_there_is_a_mistake_and_leaves_no_entry(self, out: Shop) -> None:
        before = len(out.log())
        answer = out.run("segments", "export", "groups", "--to", str(out.root.parent / "nowhere" / "list.csv"))
        assert answer.code == 2 and "a folder that exists" in answer.err
        assert len(out.log()) == before
