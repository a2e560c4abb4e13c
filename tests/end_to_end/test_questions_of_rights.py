"""The officer's questions on rights, figures and the record: what was recorded is told with its entries, and the rest is said to lack."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit.checkpoint import Checkpoint
from audit.merkle import CompactRange, leaf_hash
from engine.questions import record, register
from engine.workspace import Workspace
from tests.scenes import ANALYST, AUDITOR, CONTRACT, CUSTOMERS, GROUPS, OFFICER, POLICY, REFUSING, SUBJECTS, Shop

MINE = register.QUESTIONS[13:25]
INSIDE, OUTSIDE = SUBJECTS[0], SUBJECTS[4]
assert INSIDE not in REFUSING and OUTSIDE in REFUSING


def ask(shop: Shop, *words: str, by: str = OFFICER) -> dict[str, Any]:
    """The answer, as JSON."""
    ran = shop.run("audit", "ask", *words, "--json", by=by)
    assert ran.code == 0, ran.err
    answer: dict[str, Any] = ran.data["answer"]
    return answer


def actions(answer: dict[str, Any]) -> set[str]:
    return {each["action"] for each in answer["evidence"]}


@pytest.fixture(scope="module")
def told(released: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Both segments are released, and `groups` was handed over and scored."""
    shop = released.copy(tmp_path_factory.mktemp("rights") / "shop")
    assert shop.run("segments", "export", "groups", "--to", str(shop.root.parent / "list.csv")).code == 0
    assert shop.run("segments", "score", "groups").code == 0
    return shop


@pytest.fixture(scope="module")
def clinic(made: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A segment reads a column on health, on explicit consent; children are left out, and dates of birth tell who is one."""
    shop = made.copy(tmp_path_factory.mktemp("clinic") / "shop")
    born = [f"{2015 if number % 10 == 0 else 1980}-01-01" for number in range(CUSTOMERS)]
    people = pa.table({"customer": SUBJECTS, "age": ["old"] * CUSTOMERS, "born": pa.array(born).cast(pa.date32())})
    pq.write_table(people, shop.root / "data" / "people.parquet")
    contract = json.loads(json.dumps(CONTRACT))
    contract["subject"]["born"] = "people.born"
    contract["tables"]["people"]["columns"]["born"] = {"category": "user.demographic.date_of_birth", "type": "date"}
    contract["tables"]["purchases"]["columns"]["weight"]["category"] = "user.health_and_medical"
    rules = [
        {
            "id": "health",
            "effect": "permit",
            "categories": ["user.health_and_medical"],
            "purposes": GROUPS["purpose"].split(),
            "sensitivity": ["sensitive"],
            "ground": "explicit_consent",
            "reason": "they were asked for this very purpose",
            "legal": "GDPR art. 9(2)(a)",
        },
        {
            "id": "birth",
            "effect": "permit",
            "categories": ["user.demographic.*"],
            "uses": ["admission"],
            "reason": "to know who is a child",
        },
    ]
    shop.write("contracts", contract)
    shop.write("policies", {**POLICY, "rules": [*POLICY["rules"][:2], *POLICY["rules"][3:], *rules], "children": {"default": {"age": 16}}})
    features = {**GROUPS["features"], "weight": {"table": "purchases", "agg": "avg(weight)", "bounds": [0, 50], "why": "diets differ"}}
    shop.write("segments", {**GROUPS, "features": features})
    assert shop.run("build", "groups").code == 0
    return shop


def test_what_is_asked_is_what_the_law_asks(told: Shop) -> None:
    assert [each.id for each in MINE] == [
        *("children", "special-categories", "models-with-subject", "budget", "subject-access", "erasure", "past-retention"),
        *("automated-decisions", "group-differences", "proxies", "log-integrity", "exports-and-looks"),
    ]
    for question in MINE:
        given = [word for need in sorted(question.needs) for word in (f"--{need}", {"segment": "returners", "subject": INSIDE}[need])]
        answer = ask(told, question.id, *given)
        text = told.run("audit", "ask", question.id, *given, by=OFFICER)
        assert text.code == 0 and answer["says"] and answer["says"][-1].split(":")[0] in text.out
        entries = {entry["index"]: entry["action"] for entry in told.log()}
        assert all(entries.get(each["index"], "log.read") == each["action"] for each in answer["evidence"])


def test_answers_on_a_subject_are_the_officers(told: Shop) -> None:
    for name in ("models-with-subject", "subject-access"):
        ran = told.run("audit", "ask", name, "--subject", INSIDE, by=AUDITOR)
        assert ran.code == 3 and INSIDE not in ran.out + ran.err
    assert told.run("audit", "ask", "erasure", "--subject", INSIDE, by=AUDITOR).code == 3
    assert told.run("audit", "ask", "exports-and-looks", by=ANALYST).code == 3
    assert INSIDE not in json.dumps(told.log())


# -- children and special categories -------------------------------------------------------------------------------------


def test_children_the_rule_who_told_and_what_became_of_one(clinic: Shop) -> None:
    answer = ask(clinic, "children", "--segment", "groups", "--subject", SUBJECTS[10])
    (row,) = answer["facts"]["builds"]
    assert row["rule"].startswith("below 16 years: left out") and row["told by"] == "people.born"
    assert "σ" in row["left out as children, noisy"]
    assert [each["reason"] for each in answer["facts"]["subject"]] == ["child"]
    assert ask(clinic, "children", "--segment", "groups", "--subject", SUBJECTS[11])["facts"]["subject"][0]["reason"] == "admitted"
    assert {"plan.made", "build.quarantined"} <= actions(answer)


def test_no_rule_about_children_is_said_to_be_none(told: Shop) -> None:
    answer = ask(told, "children")
    assert {row["rule"] for row in answer["facts"]["builds"]} == {"none"}
    assert any("a rule about children" in each for each in answer["unrecorded"])


def test_a_special_category_stands_with_its_rule_and_ground(clinic: Shop, told: Shop) -> None:
    answer = ask(clinic, "special-categories")
    (row,) = answer["facts"]["columns"]
    assert (row["column"], row["rule"], row["read for"]) == ("purchases.weight", "health", "weight")
    assert row["ground"] == "explicit_consent (GDPR art. 9(2)(a))"
    assert ask(told, "special-categories")["facts"]["columns"] == []


# -- figures -------------------------------------------------------------------------------------------------------------


def test_models_that_learned_from_somebody_and_at_what_epsilon(told: Shop) -> None:
    answer = ask(told, "models-with-subject", "--subject", INSIDE)
    assert {(row["segment"], row["ε"]) for row in answer["facts"]["models"]} == {("groups", "2"), ("returners", "2")}
    assert len(answer["passports"]) == 2
    assert ask(told, "models-with-subject", "--subject", OUTSIDE)["facts"]["models"] == []


def test_a_record_that_is_gone_is_not_taken_for_a_no(out: Shop) -> None:
    assert out.run("segments", "recall", "groups", by=OFFICER).code == 0
    answer = ask(out, "models-with-subject", "--subject", INSIDE)
    assert [row["segment"] for row in answer["facts"]["models"]] == ["returners"]
    assert any("1 builds that are over" in each for each in answer["unrecorded"])


def test_the_budget_and_who_spent_it(told: Shop) -> None:
    answer = ask(told, "budget", by=AUDITOR)
    cap = next(row for row in answer["facts"]["accounts"] if row["purpose"] == "all, the cap")
    assert float(cap["ε spent"]) == pytest.approx(told.spent(), abs=1e-3)
    assert [(row["who"], row["reservations"]) for row in answer["facts"]["spenders"]] == [(ANALYST, 3)]
    assert {row["for"] for row in answer["facts"]["spending"]} >= {"build of groups", "build of returners"}
    assert actions(answer) == {"budget.reserved"}


def test_groups_and_proxies_of_a_list_are_those_of_its_model(told: Shop) -> None:
    answer = ask(told, "group-differences", "--segment", "returners")
    assert {row["group"] for row in answer["facts"]["groups"]} == {"young", "old"}
    assert all(row["interval"] != "-" for row in answer["facts"]["groups"] if row["verdict"] != "inconclusive")
    assert {row["measure"] for row in ask(told, "proxies", "--segment", "returners")["facts"]["groups"]} == {"told by features"}
    scored = ask(told, "group-differences", "--segment", told.newest("groups").id)
    assert any("scored list" in line for line in scored["says"]) and any("named no attribute" in each for each in scored["unrecorded"])


# -- rights --------------------------------------------------------------------------------------------------------------


def test_the_answer_to_a_subject_is_that_of_rights_access(told: Shop) -> None:
    answer = ask(told, "subject-access", "--subject", INSIDE)
    given = told.run("rights", "access", INSIDE, "--json", by=OFFICER).data
    assert {**answer["facts"]["answer"], "made_at": ""} == {**given, "made_at": ""}
    assert "consent.append" in actions(answer)


def test_an_erasure_with_what_it_did_not_reach(out: Shop, tmp_path: Path) -> None:
    assert out.run("segments", "export", "groups", "--to", str(tmp_path / "list.csv")).code == 0
    before = ask(out, "erasure", "--subject", INSIDE)["facts"]
    assert before["erased"] == 0 and "listed" not in before
    (out.root / "data" / "consents.csv").unlink()
    assert out.run("rights", "erase", INSIDE, "--yes", by=OFFICER).code == 0
    answer = ask(out, "erasure", "--subject", INSIDE)
    assert [row["found afterwards"] for row in answer["facts"]["erasures"]] == ["nothing was left"]
    assert [each["kind"] for each in answer["facts"]["listed"]] == ["erased"]
    assert {place.split(" ")[0] for place in answer["facts"]["held_by"]} == {"shop.purchases", "shop.people"}
    states = {row["out of reach"]: row["state"] for row in answer["facts"]["out_of_reach"]}
    assert any(what.startswith("list handed to mail") and state == "0 of 1 recalls acknowledged" for what, state in states.items())
    assert {"erasure.intended", "erasure.finished"} == actions(answer)
    assert INSIDE not in json.dumps(out.log())


def test_what_is_overdue_is_told_with_its_remedy(out: Shop) -> None:
    assert ask(out, "past-retention")["facts"]["overdue"] == []
    with sqlite3.connect(out.root / ".consentric" / "metadata.db") as database:
        database.execute("UPDATE builds SET listed_until = created + 1, retrain_by = created + 1 WHERE segment = 'groups'")
    database.close()
    answer = ask(out, "past-retention", by=AUDITOR)
    assert [row["remedy"] for row in answer["facts"]["overdue"]] == ["consentric sweep", "consentric build groups"]
    assert any("tables.purchases.retention" in each for each in answer["unrecorded"])


def test_decisions_by_a_model_with_who_looked_and_where_they_went(told: Shop) -> None:
    answer = ask(told, "automated-decisions", "--segment", "groups", "--subject", INSIDE)
    scored, built = answer["facts"]["builds"]
    assert built["looked at by"] == f"{OFFICER} (approve)" and built["handed to"].startswith("mail on ")
    assert scored["looked at by"] == "nobody" and scored["model"].endswith(f"scored with {built['build']}")
    assert [each["listed"] for each in answer["facts"]["subject"]] == [True, True]
    assert any("GDPR art. 22(1)" in each for each in answer["unrecorded"])


# -- the record ----------------------------------------------------------------------------------------------------------


def test_an_intact_log_is_told_from_an_edited_one(out: Shop) -> None:
    assert "verified" not in ask(out, "log-integrity")["facts"]
    assert out.verify() == 0
    answer = ask(out, "log-integrity")
    assert answer["facts"]["intact"] is True and len(answer["facts"]["heads"]) == 3 and answer["facts"]["verified"]
    with sqlite3.connect(out.root / ".consentric" / "metadata.db") as database:
        database.execute("UPDATE log_entries SET body = CAST(replace(body, '{', '{ ') AS BLOB) WHERE idx = 12")
    database.close()
    edited = ask(out, "log-integrity")
    assert edited["facts"]["intact"] is False and any("entries were edited" in line for line in edited["says"])


def test_the_end_of_a_long_log_is_hashed_again_and_the_rest_is_said_not_to_be(told: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "RECOMPUTED", 7)
    answer = ask(told, "log-integrity")
    assert answer["facts"]["intact"] is True and answer["facts"]["recomputed"] == 7
    assert any("below nodes that are intact" in each for each in answer["unrecorded"])


def test_a_log_that_was_written_anew_is_not_that_of_the_head_outside(out: Shop) -> None:
    """Every node and the checkpoint fit the entries, as whoever holds the key can make them; the head outside was signed over others."""
    workspace = out.workspace()
    database = sqlite3.connect(out.root / ".consentric" / "metadata.db")
    bodies = [row[0] for row in database.execute("SELECT body FROM log_entries ORDER BY idx")]
    bodies[3] = bodies[3].replace(b'"', b'" ', 1)
    tree, nodes = CompactRange(), []
    for body in bodies:
        nodes += tree.append(leaf_hash(body))
    database.execute("UPDATE log_entries SET body = ? WHERE idx = 3", (bodies[3],))
    database.executemany("UPDATE log_nodes SET hash = ? WHERE level = ? AND idx = ?", [(node[2], node[0], node[1]) for node in nodes])
    database.commit()
    database.close()
    (out.root / ".consentric" / "checkpoint").unlink()
    workspace.checkpoint_file.publish(tree.size, tree.root())
    ran = out.run("audit", "ask", "log-integrity", "--json", by=OFFICER)
    assert ran.code == 0 and ran.data["answer"]["facts"]["intact"] is False
    assert "is not the one that was signed" in str(ran.data["answer"]["facts"]["heads"][1]["problem"])


def test_who_looked_and_took_and_where_it_went(told: Shop) -> None:
    assert told.run("segments", "members", "groups", by=ANALYST).code == 0
    assert told.run("audit", "export", "art30", "--to", str(told.root.parent / "record.html"), "--force", by=AUDITOR).code == 0
    looks = {(row["who"], row["did"]): row["of what, where to"] for row in ask(told, "exports-and-looks")["facts"]["looks"]}
    assert "segment groups" in looks[(ANALYST, "read the list of a segment")]
    assert "destination mail" in looks[(ANALYST, "handed a list over")]
    assert looks[(AUDITOR, "took evidence out")] == "format .html, kind art30"
    narrowed = ask(told, "exports-and-looks", "--segment", "returners")["facts"]["looks"]
    assert not [row for row in narrowed if row["did"] == "handed a list over"]


def test_what_is_written_while_the_log_is_looked_at_is_not_taken_for_a_cut(out: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    real, other, wrote = Workspace.checkpoint, out.workspace(), []

    def checkpoint(workspace: Workspace) -> Checkpoint | None:
        if not wrote and sys._getframe(1).f_code.co_name == "log_integrity":
            wrote.append(True)
            with other.store.transaction("meanwhile") as write:
                write.record("test.meanwhile")
        return real(workspace)

    monkeypatch.setattr(Workspace, "checkpoint", checkpoint)
    assert ask(out, "log-integrity")["facts"]["intact"] is True and wrote


def test_looks_at_a_segment_are_found_by_its_builds_and_notices_too(out: Shop, tmp_path: Path) -> None:
    build = out.newest("groups").id
    assert out.run("segments", "export", "groups", "--to", str(tmp_path / "list.csv")).code == 0
    assert out.run("consent", "withdraw", INSIDE, by=OFFICER).code == 0
    (tmp_path / "notices").mkdir()
    assert out.run("segments", "notices", "--to", str(tmp_path / "notices"), by=OFFICER).code == 0
    assert out.run("audit", "ask", "necessity", "--segment", build, "--proof", str(tmp_path / "proof"), by=OFFICER).code == 0
    looks = ask(out, "exports-and-looks", "--segment", "groups")["facts"]["looks"]
    assert "handed a recall notice out" in {row["did"] for row in looks}
    assert any(f"segment {build}" in row["of what, where to"] for row in looks if row["did"] == "asked a question")
    others = ask(out, "exports-and-looks", "--segment", "returners")["facts"]["looks"]
    assert "handed a recall notice out" not in {row["did"] for row in others}
    every = ask(out, "exports-and-looks")
    assert any("where files of evidence were put" in what for what in every["unrecorded"])


def test_a_proof_holds_for_somebody_with_the_verifier_alone(told: Shop, tmp_path: Path) -> None:
    for name, given in (("models-with-subject", ("--subject", INSIDE)), ("automated-decisions", ())):
        ran = told.run("audit", "ask", name, *given, "--proof", str(tmp_path / name), by=OFFICER)
        assert ran.code == 0, ran.err
        command = ran.err.rpartition("beside: python verify.py ")[2].split()
        verifier = Path(__file__).parents[2] / "audit" / "verify.py"
        checked = subprocess.run(
            [sys.executable, str(verifier), *command], cwd=tmp_path / name, capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr
