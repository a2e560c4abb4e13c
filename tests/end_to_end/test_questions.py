"""The officer's questions on consent, builds, policies, copies and signals: answered by what was recorded, with proof, or not at all."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from sqlmodel import delete

from audit import verify as verifier
from audit.commitments import commit
from engine import roles
from engine.questions.question import Given, Question
from engine.questions.register import QUESTIONS
from governance import consent_batches
from governance.roles import Action
from governance.store import micros
from governance.tables import ConsentRow, DocumentRow
from policies.decisions import Deny
from tests.partnerships import drawn_up
from tests.scenes import ADS, ANALYST, AUDITOR, OFFICER, OTHER, POLICY, REFUSING, SUBJECTS, Shop

if TYPE_CHECKING:
    from tests.postgres import Server

THIRD = "marketing.advertising.third_party.targeted"
LEFT, STAYED, REFUSED, SIGNALLED, NEW = SUBJECTS[0], SUBJECTS[1], SUBJECTS[4], SUBJECTS[2], "nobody-knows-me"


@pytest.fixture(scope="module")
def told(released: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Both segments are released and handed to `mail`; somebody left, somebody sent GPC; the policy has a second, approved version."""
    shop = released.copy(tmp_path_factory.mktemp("told") / "shop")
    away = shop.root.parent
    for segment in ("groups", "returners"):
        assert shop.run("segments", "export", segment, "--to", str(away / f"{segment}.csv"), by=OFFICER).code == 0
    assert shop.run("policy", "approve", "rules", by=OFFICER).code == 0
    (shop.root / "data" / "signals.jsonl").write_text(
        json.dumps({"subject": SIGNALLED, "at": "2025-02-01T09:00:00Z", "gpc": "1", "jurisdiction": "us-ca"}) + "\n"
    )
    assert shop.run("consent", "import", str(shop.root / "data" / "signals.jsonl"), by=OFFICER).code == 0
    assert shop.run("consent", "withdraw", LEFT, ADS, by=OFFICER).code == 0
    drawn_up(shop)
    more = {"id": "more", "effect": "permit", "categories": ["user.content.*"], "purposes": [ADS], "reason": "reviews tell tastes"}
    shop.write("policies", POLICY | {"cohort_floor": 150, "rules": [*POLICY["rules"], more]})
    assert shop.run("policy", "approve", "rules", by=OTHER).code == 0
    return shop


def ask(shop: Shop, *words: str, by: str = OFFICER) -> dict[str, Any]:
    """The answer, as JSON."""
    ran = shop.run("audit", "ask", *words, "--json", by=by)
    assert ran.code == 0, ran
    answer: dict[str, Any] = ran.data["answer"]
    return answer


def actions(answer: dict[str, Any]) -> set[str]:
    return {one["action"] for one in answer["evidence"]}


# -- asking --------------------------------------------------------------------------------------------------------------


def test_without_a_question_all_are_listed_with_what_they_need(shop: Shop) -> None:
    listed = {row["question"]: row for row in shop.run("audit", "ask", "--json").data["questions"]}
    assert listed["basis"]["needs"] == "--segment --subject" and listed["basis"]["takes"] == "--on"
    assert listed["policy-approval"]["needs"] == "--policy" and len({row["asks"] for row in listed.values()}) == len(listed)


def test_an_answer_is_in_the_log_before_it_is_shown_and_names_nobody(told: Shop) -> None:
    said = told.run("audit", "ask", "basis", "--segment", "groups", "--subject", LEFT, "--json", by=OFFICER).data
    asked, answered = told.log()[-2:]
    assert (asked["action"], asked["facts"]) == ("question.asked", {"question": "basis", "segment": "groups"})
    assert (answered["index"], answered["action"]) == (said["logged"]["entry"], "question.answered")
    assert LEFT not in json.dumps([asked, answered])
    value = {name: said[name] for name in ("question", "asks", "asked", "answer")}
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert commit(text, bytes.fromhex(said["logged"]["salt"])).hex() == answered["facts"]["answer"] == said["logged"]["commitment"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["nonsense"], "got question `nonsense`, expected one of `basis`"),
        (["basis", "--segment", "groups"], "got no `--subject`, expected `--segment`, `--subject`"),
        (["necessity", "--segment", "groups", "--policy", "rules"], "got `--policy`, expected `--on`, `--segment`"),
        (["notice", "--subject", ""], "`--subject`: got nothing, expected a value"),
        (["notice", "--subject", "\udcff"], "`--subject`: got bytes that are no UTF-8"),
        (["notice", "--subject", NEW], "`--subject`: nothing is held about this key"),
        (["necessity", "--segment", "nothing"], "`--segment`: got `nothing`, expected a segment that was built"),
        (["necessity", "--segment", "groups", "--on", "2020-01-01"], "`--on`: got `2020-01-01`, expected a day from"),
        (["necessity", "--segment", "groups", "--on", "2999-01-01"], "`--on`: got `2999-01-01`, expected a day up to today"),
        (["policy-approval", "--policy", "nothing"], "`--policy`: got `nothing`, expected one of"),
        (["column-denied", "--segment", "groups", "--column", "street"], "`--column`: got `street`, expected TABLE.COLUMN"),
        (["gpc", "--proof", "inside"], "expected a place outside the workspace"),
    ],
)
def test_what_cannot_be_asked_is_one_line_and_exit_2(told: Shop, monkeypatch: pytest.MonkeyPatch, words: list[str], error: str) -> None:
    monkeypatch.chdir(told.root)
    ran = told.run("audit", "ask", *words, by=OFFICER)
    assert ran.code == 2 and ran.out == "" and error in ran.err and len(ran.err.splitlines()) == 1


@pytest.mark.parametrize("words", [["necessity", "--segment", LEFT], ["policy-approval", "--policy", LEFT]])
def test_a_key_in_the_wrong_place_stays_out_of_the_log(told: Shop, words: list[str]) -> None:
    assert told.run("audit", "ask", *words, by=OFFICER).code == 2
    assert LEFT not in json.dumps(told.log())


@pytest.mark.parametrize(
    ("words", "by"),
    [
        (["basis", "--segment", "groups", "--subject", STAYED], AUDITOR),
        (["excluded", "--segment", "groups", "--subject", STAYED], AUDITOR),
        (["expired-consent"], AUDITOR),
        (["gpc"], ANALYST),
    ],
)
def test_questions_of_officers_are_refused_to_others(told: Shop, words: list[str], by: str) -> None:
    ran = told.run("audit", "ask", *words, by=by)
    assert ran.code == 3 and ran.out == "" and told.log()[-1]["action"] == "access.denied"


def test_a_subjects_own_leaf_is_in_the_proof_and_shows_what_was_done(
    told: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for subject, outcome in ((STAYED, "was used"), (REFUSED, "was left out")):
        to = tmp_path / subject
        assert told.run("audit", "ask", "basis", "--segment", "groups", "--subject", subject, "--proof", str(to), by=OFFICER).code == 0
        opening = to / f"opening-{told.newest('groups').id}.json"
        assert verifier.main(["--trust", str(to / "log.policy"), "--opening", str(opening)]) == 0
        assert f"`{subject}` {outcome}" in capsys.readouterr().out


def test_a_proof_verifies_alone_and_a_changed_one_does_not(told: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = tmp_path / "proof"
    said = told.run("audit", "ask", "policy-of-build", "--segment", "groups", "--proof", str(to), "--json", by=OFFICER)
    assert said.code == 0, said
    kept = json.loads((to / "answer.json").read_text())["opening"]
    assert {**kept["value"], "logged": said.data["logged"]} == said.data and kept["salt"] == said.data["logged"]["salt"]
    assert [path.name for path in to.iterdir() if path.stat().st_mode & 0o077] == []
    words = said.err.strip().rpartition("verify.py ")[2].split()
    given = [str(to / word) if (to / word).exists() else word for word in words]
    assert verifier.main(given) == 0
    shown = capsys.readouterr().out
    assert '"action":"plan.made"' in shown and said.data["logged"]["commitment"] in shown
    policy = (to / "policy-rules.json").read_bytes()
    assert "sha256:" + hashlib.sha256(policy).hexdigest() == said.data["answer"]["facts"]["policy"]["digest"]
    proof = next(to.glob("entry-*"))
    proof.write_text(proof.read_text().replace("extra ", "extra A"))
    assert verifier.main(given) == verifier.BROKEN
    assert told.run("audit", "ask", "gpc", "--proof", str(to), by=OFFICER).code == 2  # it is there


@pytest.fixture(scope="module")
def two_answers(told: Shop, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of the same question of somebody who left, and of somebody who stayed."""
    folders = tuple(tmp_path_factory.mktemp("answers") / name for name in ("left", "stayed"))
    for subject, to in zip((LEFT, STAYED), folders, strict=True):
        words = "basis", "--segment", "groups", "--subject", subject, "--on", f"{dt.datetime.now(dt.UTC):%Y-%m-%d}"
        assert told.run("audit", "ask", *words, "--proof", str(to), by=OFFICER).code == 0
    return folders[0], folders[1]


def respelt(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n"


@pytest.mark.parametrize(
    ("path", "new"),
    [
        (("value", "answer", "says", 0), "build 1 of `groups`, released"),
        (("value", "answer", "facts", "admitted"), True),
        (("value", "answer", "facts", "more"), 1),
        (("value", "answer", "evidence", 0, "at"), "2020-01-01T00:00:00.000000Z"),
        (("value", "answer", "documents", "policy-rules.json"), "sha256:" + "0" * 64),
        (("value", "answer", "passports"), ["b"]),
        (("value", "asked", "on"), "2020-01-01"),
        (("value", "asked", "subject"), STAYED),
        (("value", "question"), "notice"),
        (("value", "asks"), "Was everything in order?"),
        (("value", "note"), "all is well"),
        (("salt",), "00" * 32),
        (("salt",), ""),
    ],
)
def test_a_word_of_an_answer_that_was_changed_is_found(two_answers: tuple[Path, Path], path: tuple[Any, ...], new: Any) -> None:
    file = two_answers[0] / "answer.json"
    trust, raw = verifier.parse_policy((two_answers[0] / "log.policy").read_bytes()), file.read_bytes()
    assert verifier.verify_opening(raw, trust, file).startswith("entry ")
    document = json.loads(raw)
    place = document["opening"]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = new
    with pytest.raises(verifier.Broken, match="does not commit to what was asked, what is said and this salt"):
        verifier.verify_opening(respelt(document), trust, file)


def test_another_answers_salt_entry_or_document_and_a_second_name_are_found(
    two_answers: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "to"
    shutil.copytree(two_answers[0], to)
    words = (to / "README.txt").read_text().partition("python verify.py ")[2].split("\n")[0].split()
    given = [str(to / word) if (to / word).exists() else word for word in words]
    assert verifier.main(given) == 0
    assert f"'subject': '{LEFT}', 'purpose': '{ADS}', 'status': 'withdrawn'" in capsys.readouterr().out
    mine, theirs = (json.loads((folder / "answer.json").read_text()) for folder in two_answers)
    raw = (to / "answer.json").read_text()
    entry = next(text for text in map(Path.read_text, to.glob("entry-*")) if b"plan.made" in verifier.read_proof(text.encode())[1])
    wrong = {
        "does not commit to what was asked": [
            respelt(mine | {"opening": mine["opening"] | {"salt": theirs["opening"]["salt"]}}).decode(),
            respelt(mine | {"proof": theirs["proof"]}).decode(),
            respelt(mine | {"opening": theirs["opening"]}).decode(),
        ],
        "is no https://consentric.dev/opening/v1 of an entry of": [respelt(mine | {"proof": entry}).decode()],
        "not spelt as it was written": [
            raw.replace("{", '{\n "opening": "all is well",', 1),
            raw + "\n",
            respelt(mine | {"answer": "all is well"}).decode(),
            respelt({"answer": "all is well"} | mine).decode(),
            respelt(mine | {"opening": mine["opening"] | {"note": "all is well"}}).decode(),
        ],
    }
    for problem, several in wrong.items():
        for text in several:
            (to / "answer.json").write_text(text)
            assert verifier.main(given) == verifier.BROKEN, text
            assert problem in capsys.readouterr().out
            assert verifier.main(["--trust", str(to / "log.policy"), "--proof", str(to / "answer.json")]) == verifier.BROKEN
            capsys.readouterr()
    (to / "answer.json").write_text(raw)
    (to / "policy-rules.json").write_text((to / "policy-rules.json").read_text() + " ")
    assert verifier.main(given) == verifier.BROKEN
    assert "is not beside it as `policy-rules.json`" in capsys.readouterr().out
    (to / "policy-rules.json").unlink()
    assert verifier.main(given) == verifier.BROKEN
    assert "is not beside it as `policy-rules.json`" in capsys.readouterr().out


def test_what_a_subject_said_is_opened_and_still_is_after_somebody_else_was_erased(
    told: Shop, two_answers: tuple[Path, Path], tmp_path: Path
) -> None:
    shop, trust = told.copy(tmp_path / "shop"), verifier.parse_policy((two_answers[0] / "log.policy").read_bytes())
    before = [path.read_bytes() for folder in two_answers for path in folder.glob("consent-*")]
    assert sorted(STAYED in verifier.verify_opening(raw, trust) for raw in before) == [False, False, True]
    imported = next(raw for raw in before if json.loads(raw)["opening"]["index"])  # among thousands of others
    other = next(raw for raw in before if verifier.read_proof(raw)[0] != verifier.read_proof(imported)[0])
    document = json.loads(imported)
    value = document["opening"]["value"]
    for change in ({"value": value.replace("given", "refused")}, {"value": value.replace("[", "[ ")}, {"salt": "00" * 32}, {"index": 0}):
        with pytest.raises(verifier.Broken):
            verifier.verify_opening(respelt(document | {"opening": document["opening"] | change}), trust)
    with pytest.raises(verifier.Broken):
        verifier.verify_opening(respelt(document | {"proof": json.loads(other)["proof"]}), trust)
    (shop.root / "data" / "consents.csv").unlink()  # which is not ours to rewrite
    assert shop.run("rights", "erase", LEFT, "--yes", by=OFFICER).code == 0
    words = "basis", "--segment", "groups", "--subject", STAYED
    assert shop.run("audit", "ask", *words, "--proof", str(tmp_path / "to"), by=OFFICER).code == 0
    again = next((tmp_path / "to").glob("consent-*")).read_bytes()
    assert json.loads(again)["opening"] == next(json.loads(raw)["opening"] for raw in before if STAYED in raw.decode())
    for raw in (*before, again):
        assert "commits to a consent event" in verifier.verify_opening(raw, trust)


def test_a_batch_that_is_too_large_to_hash_is_said_to_be_closed(told: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consent_batches, "MOST", 10)
    ran = told.run("audit", "ask", "notice", "--subject", STAYED, "--proof", str(tmp_path / "to"), by=OFFICER)
    assert ran.code == 0 and "not opened are consent events of entries " in ran.err and not [*(tmp_path / "to").glob("consent-*")]


def test_the_verifier_names_an_events_fields_as_the_ledger_does() -> None:
    assert [column.name for column in consent_batches.COMMITTED] == verifier.FIELDS


NEEDED = {
    Given.SEGMENT: "groups",
    Given.SUBJECT: LEFT,
    Given.COLUMN: "purchases.street",
    Given.POLICY: "rules",
    Given.COLLABORATION: "joint",
    Given.ROUND: "1",
}


def proved(shop: Shop, question: Question, to: Path) -> None:
    """A question is answered, and its proof verifies."""
    words = [word for each in sorted(question.needs) for word in (f"--{each}", NEEDED[each])]
    said = shop.run("audit", "ask", question.id, *words, "--proof", str(to), "--json", by=OFFICER)
    assert said.code == 0, said
    given = [str(to / word) if (to / word).exists() else word for word in said.err.strip().rpartition("verify.py ")[2].split()]
    assert verifier.main(given) == 0
    shown = shop.run("audit", "ask", question.id, *words, by=OFFICER)
    assert shown.code == 0 and shown.err == ""
    assert "rests on" in shown.out or "not recorded: " in shown.out or not said.data["answer"]["evidence"]


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.id)
def test_every_question_is_answered_with_a_proof_that_verifies(told: Shop, tmp_path: Path, question: Question) -> None:
    proved(told, question, tmp_path / "proof")


def test_what_builds_keep_of_themselves_is_proven_to_those_alone_who_may_read_segments(
    told: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each question is put by somebody who may do what it asks for, and nothing else."""
    shop, real = told.copy(tmp_path / "shop"), roles.decide
    for question in QUESTIONS:
        held = {question.action, *([Action.READ_SUBJECT] if Given.SUBJECT in question.needs else [])}
        monkeypatch.setattr(
            roles, "decide", lambda of, action, *more, held=held, **facts: real(of, action, *more, **facts) if action in held else Deny(())
        )
        to = tmp_path / question.id
        proved(shop, question, to)
        shown = {path.name.split("-")[0] for path in to.iterdir()} & {"facts", "passport", "opening"}
        assert not shown or question.action is Action.READ_SEGMENTS, (question.id, shown)
    assert (tmp_path / "columns-read" / f"facts-{shop.newest('groups').id}.json").exists()


def test_a_partner_reads_rules_and_no_build(told: Shop, tmp_path: Path) -> None:
    shop, to = told.copy(tmp_path / "shop"), tmp_path / "proof"
    shop.appoint(partners=["petra"])
    ran = shop.run("audit", "ask", "special-categories", "--proof", str(to), by="petra")
    assert ran.code == 0 and "left out, for whoever may `read_segments`: passport-" in ran.err
    assert not [*to.glob("facts-*"), *to.glob("passport-*")]
    taken = shop.log()[-1]
    assert (taken["action"], taken["facts"]["kind"]) == ("evidence.exported", "answer")
    assert taken["facts"]["sha256"] == hashlib.sha256((to / "answer.json").read_bytes()).hexdigest()


@pytest.mark.slow
def test_on_postgresql_too(postgres: Server, tmp_path: Path) -> None:
    shop = Shop.make(tmp_path / "shop", postgres.create())
    assert shop.run("build", "groups").code == 0 and shop.run("approve", "groups", by=OFFICER).code == 0
    assert shop.run("consent", "withdraw", LEFT, by=OFFICER).code == 0
    drawn_up(shop)
    for question in QUESTIONS:
        proved(shop, question, tmp_path / question.id)


def test_there_are_28_questions_and_each_has_a_name_of_its_own() -> None:
    assert len({question.id for question in QUESTIONS}) == len(QUESTIONS) == 28


# -- people --------------------------------------------------------------------------------------------------------------


def test_basis_says_what_decided_and_whether_they_could_be_used(told: Shop) -> None:
    stayed, left, refused = (ask(told, "basis", "--segment", "groups", "--subject", key) for key in (STAYED, LEFT, REFUSED))
    assert stayed["facts"]["basis"] == "consent" and stayed["facts"]["admitted"] and stayed["facts"]["trained"]
    assert (left["facts"]["reason"], left["facts"]["trained"]) == ("withdrawn", True)
    assert (refused["facts"]["reason"], refused["facts"]["trained"]) == ("refused", False)
    assert {"consent.append", "plan.made", "build.quarantined"} <= actions(left)
    assert [event["status"] for event in left["facts"]["events"]] == ["given", "withdrawn"]


def test_basis_on_a_past_day_knows_nothing_of_what_came_later(told: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    import engine.workspace

    today = dt.datetime.now(dt.UTC)
    shop = told.copy(told.root.parent / "later")
    monkeypatch.setattr(engine.workspace, "now", lambda: today + dt.timedelta(days=2))
    assert shop.run("consent", "withdraw", STAYED, by=OFFICER).code == 0
    then = ask(shop, "basis", "--segment", "groups", "--subject", STAYED, "--on", f"{today:%Y-%m-%d}")
    now = ask(shop, "basis", "--segment", "groups", "--subject", STAYED)
    assert then["facts"]["admitted"] and len(then["facts"]["events"]) == 1
    assert not now["facts"]["admitted"] and now["facts"]["reason"] == "withdrawn"


def test_basis_is_told_by_the_newest_version_too(told: Shop) -> None:
    facts = ask(told, "basis", "--segment", "groups", "--subject", STAYED)["facts"]
    assert facts["newest"]["policy"] != facts["policy"] and facts["newest"]["admitted"]


def test_a_document_that_cannot_be_read_is_said_to_be_unrecorded(told: Shop, tmp_path: Path) -> None:
    shop = told.copy(tmp_path / "shop")
    (shop.root / "policies" / "rules.yaml").write_text("kind: policy\nname: [")
    asked = (("basis", "--segment", "groups", "--subject", STAYED), ("gpc",), ("budget",), ("policy-approval", "--policy", "rules"))
    for words in asked:
        assert any("rules.yaml" in what for what in ask(shop, *words)["unrecorded"]), words


def test_of_merged_keys_the_one_that_stands_for_them_is_judged(told: Shop, tmp_path: Path) -> None:
    shop, to = told.copy(tmp_path / "shop"), tmp_path / "proof"
    used = SUBJECTS[10]
    before = ask(shop, "expired-consent", "--segment", "groups")["facts"]["builds"][0]["ended since"]
    assert shop.run("consent", "merge", used, "--into", REFUSED, by=OFFICER).code == 0
    for key in (used, REFUSED):
        facts = ask(shop, "basis", "--segment", "groups", "--subject", key)["facts"]
        assert (facts["admitted"], facts["reason"], facts["trained"], facts["outcome"]) == (False, "refused", True, "admitted")
        assert [(each["key"], each["trained"]) for each in facts["keys"]] == [(REFUSED, False), (used, True)]
    assert ask(shop, "excluded", "--segment", "groups", "--subject", REFUSED)["facts"]["trained"] is True
    signals = ask(shop, "conflicting-signals", "--subject", used)["facts"]["signals"]
    assert {row["status"]: row["becomes of it"] for row in signals if row["of"] == ADS} == {
        "given": "said by another key of the same person, of which the strictest counts",
        "refused": "counts",
    }
    assert ask(shop, "expired-consent", "--segment", "groups")["facts"]["builds"][0]["ended since"] == before + 1
    copies = {row["copy"].split(" ")[0] for row in ask(shop, "copies-stopped", "--subject", used, "--segment", "groups")["facts"]["copies"]}
    assert {"every", "list", "model"} <= copies
    assert shop.run("audit", "ask", "basis", "--segment", "groups", "--subject", used, "--proof", str(to), by=OFFICER).code == 0
    for opening in (openings := [*to.glob("opening-*")]):
        assert verifier.main(["--trust", str(to / "log.policy"), "--opening", str(opening)]) == 0
    assert len(openings) == 2


def test_notice_names_the_version_and_says_where_nobody_named_one(told: Shop) -> None:
    answer = ask(told, "notice", "--subject", STAYED)
    assert [row["notice"] for row in answer["facts"]["notices"]] == ["v1"]
    assert any("the hash of notice `v1`" in what for what in answer["unrecorded"])
    assert any("a notice for 1 of the events" in what for what in answer["unrecorded"])


def test_nothing_was_built_on_consent_that_had_ended_and_who_left_since_is_counted(told: Shop) -> None:
    answer = ask(told, "expired-consent")
    rows = {row["segment"]: row for row in answer["facts"]["builds"]}
    assert answer["facts"]["wrong"] == 0
    assert [rows[name]["ended at build"] for name in ("groups", "returners")] == [0, 0]
    assert [rows[name]["ended since"] for name in ("groups", "returners")] == [1, 1]
    assert rows["groups"]["of these listed"] == 0 and rows["groups"]["retrain by"] != "-"


def test_a_build_on_consent_that_had_ended_is_found(told: Shop, tmp_path: Path) -> None:
    """Whoever goes around the gate leaves a build that shows it."""
    shop = told.copy(tmp_path / "shop")
    before = micros(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    late = ConsentRow(subject=STAYED, purpose=ADS, status="withdrawn", event_time=before, received_time=before, batch="b", salt=b"0")
    with shop.workspace().store.transaction("late") as write:
        write.session.add(late)
        write.record("test")
    answer = ask(shop, "expired-consent", "--segment", "groups")
    assert answer["facts"]["wrong"] == 1 and answer["facts"]["builds"][0]["ended at build"] == 1


# -- builds --------------------------------------------------------------------------------------------------------------


def test_excluded_counts_by_reason_and_rule_and_says_why_one_was(told: Shop) -> None:
    answer = ask(told, "excluded", "--segment", "returners", "--subject", REFUSED)
    rows = {row["reason"]: row for row in answer["facts"]["excluded"]}
    assert abs(rows["refused"]["people, noisy"] - len(REFUSING)) < 100 and "a refusal stands" in rows["refused"]["rule"]
    assert answer["facts"]["outcome"] == "refused" and answer["passports"]
    assert "people, noisy" in ask(told, "excluded", "--segment", "returners", by=AUDITOR)["facts"]["excluded"][0]


def test_columns_read_are_those_of_the_query_and_no_others(told: Shop) -> None:
    rows = {row["column"]: row for row in ask(told, "columns-read", "--segment", "returners", by=AUDITOR)["facts"]["columns"]}
    assert rows["purchases.amount"]["in the query, by the database"] == "yes" and "spend" in rows["purchases.amount"]["read for"]
    assert rows["people.age"]["read for"] == "fairness" and rows["people.age"]["in the locked room"] == "no"
    assert "purchases.street" not in rows


def test_necessity_is_the_specs_own_word_or_nobodys(told: Shop) -> None:
    answer = ask(told, "necessity", "--segment", "returners")
    rows = {row["read for"]: row for row in answer["facts"]["needs"]}
    assert rows["spend"]["why"] == "nobody said" and any("why `spend` is needed" in what for what in answer["unrecorded"])
    assert rows["row selection"]["why"] and actions(answer) == {"build.quarantined"}


def test_a_denied_column_is_told_with_rule_law_and_the_plan_it_stopped(built: Shop) -> None:
    spec = yaml.safe_load((built.root / "segments" / "groups.yaml").read_text())
    spec["features"]["where"] = {"table": "purchases", "agg": "count(distinct street)", "bounds": [0, 9], "why": "maps"}
    built.write("segments", spec)
    assert built.run("plan", "groups").code == 3
    answer = ask(built, "column-denied", "--segment", "groups", "--column", "purchases.street")
    assert not answer["facts"]["allowed"] and actions(answer) == {"plan.refused"}
    finding = answer["facts"]["findings"][0]
    assert (finding["rule"], finding["legal reference"]) == ("no-location", "GDPR art. 5(1)(c)")
    allowed = ask(built, "column-denied", "--segment", "groups", "--column", "purchases.amount")
    assert allowed["facts"]["allowed"]


def test_a_denied_column_is_told_by_the_build_where_the_policy_of_today_cannot_be_read(told: Shop, tmp_path: Path) -> None:
    shop = told.copy(tmp_path / "shop")
    shop.write("segments", yaml.safe_load((shop.root / "segments" / "groups.yaml").read_text()) | {"name": "never_built"})
    (shop.root / "policies" / "rules.yaml").write_text("kind: policy\nname: [")
    answer = ask(shop, "column-denied", "--segment", "groups", "--column", "purchases.street")
    assert not answer["facts"]["allowed"] and "as build" in answer["says"][0] and any("rules.yaml" in what for what in answer["unrecorded"])
    ran = shop.run("audit", "ask", "column-denied", "--segment", "never_built", "--column", "purchases.street", by=OFFICER)
    assert ran.code == 2 and "rules.yaml" in ran.err


# -- policies ------------------------------------------------------------------------------------------------------------


def test_a_policys_versions_are_told_with_who_approved_each_and_what_changed(told: Shop) -> None:
    answer = ask(told, "policy-approval", "--policy", "rules", by=AUDITOR)
    first, second = answer["facts"]["versions"]
    assert [each["by"] for each in first["approved_by"]] == [OFFICER] and [each["by"] for each in second["approved_by"]] == [OTHER]
    assert first["changes"] is None and {each["said"] for each in first["builds"]} == {"approve"}
    assert "cohort_floor: 100 -> 150" in second["changes"] and "rule `more` added" in second["changes"]
    assert {"document.kept", "policy.approved", "build.approve"} == actions(answer)
    logged = [entry["facts"]["changes"] for entry in told.log() if entry["action"] == "policy.approved"]
    assert logged[0] is None and "cohort_floor: 100 -> 150" in logged[1]


def test_who_approved_is_unrecorded_where_nobody_did(built: Shop) -> None:
    answer = ask(built, "policy-approval", "--policy", "rules")
    assert len(answer["facts"]["versions"]) == 1 and any("nobody ran `consentric policy approve`" in what for what in answer["unrecorded"])


def test_one_approval_of_a_version_a_person_and_officers_alone(built: Shop) -> None:
    assert built.run("policy", "approve", "rules", by=ANALYST).code == 3
    assert built.run("policy", "approve", "rules", by=OFFICER).code == 0
    again = built.run("policy", "approve", "rules", by=OFFICER)
    assert again.code == 3 and "approved-already" in again.err
    assert built.run("policy", "approve", "rules", by=OTHER).code == 0


def test_a_version_that_comes_back_is_approved_again_and_told_in_order(out: Shop) -> None:
    for floor in (100, 150, 100):
        out.write("policies", POLICY | {"cohort_floor": floor})
        assert out.run("policy", "approve", "rules", by=OFFICER).code == 0
    assert out.run("policy", "approve", "rules", by=OFFICER).code == 3
    approvals = ask(out, "policy-approval", "--policy", "rules")["facts"]["approvals"]
    assert [each["changes"] for each in approvals] == [None, ["cohort_floor: 100 -> 150"], ["cohort_floor: 150 -> 100"]]
    assert approvals[2]["digest"] == approvals[0]["digest"] == approvals[1]["before"] and approvals[2]["before"] == approvals[1]["digest"]


def test_the_policy_of_a_build_is_told_after_its_file_changed(told: Shop) -> None:
    answer = ask(told, "policy-of-build", "--segment", "groups", by=AUDITOR)
    assert answer["facts"]["policy"]["name"] == "rules" and answer["facts"]["released_under"] == answer["facts"]["policy"]["digest"]
    assert {"plan.made", "build.started", "build.approve", "build.released"} == actions(answer) and answer["unrecorded"] == []


def test_where_no_text_was_kept_the_answer_says_so(told: Shop, tmp_path: Path) -> None:
    """As in a workspace that planned before texts were kept, and changed its policy since."""
    shop = told.copy(tmp_path / "shop")
    with shop.workspace().store.transaction("test") as write:
        write.session.exec(delete(DocumentRow))
        write.record("test")
    answer = ask(shop, "policy-of-build", "--segment", "groups")
    assert answer["facts"]["policy"] == {"digest": answer["facts"]["released_under"]}
    assert any("the text of the policy" in what for what in answer["unrecorded"])
    basis = ask(shop, "basis", "--segment", "groups", "--subject", STAYED)
    assert "admitted" not in basis["facts"] and any("no text of them was kept" in what for what in basis["unrecorded"])


# -- copies --------------------------------------------------------------------------------------------------------------


def test_when_every_copy_stopped_after_a_withdrawal(told: Shop) -> None:
    answer = ask(told, "copies-stopped", "--subject", LEFT)
    rows = {row["copy"]: row for row in answer["facts"]["copies"]}
    assert any(copy.startswith("every read") for copy in rows)
    lists = [row for copy, row in rows.items() if copy.startswith("list of build")]
    assert any("sweep of entry" in row["by"] for row in lists)  # a notice names them; of other lists nobody can say
    assert all("sweep of entry" in row["by"] or row["stopped"] == "not on the list today" for row in lists)
    assert any("to be trained anew by 2" in row["stopped"] for copy, row in rows.items() if copy.startswith("model"))
    assert {"consent.append", "sweep.done", "notice.opened", "build.must_retrain"} <= actions(answer)
    none = ask(told, "copies-stopped", "--subject", STAYED)
    assert none["facts"]["stops"] == 0 and none["unrecorded"]


def test_a_no_that_bears_on_no_build_stops_no_copy_of_one(told: Shop, tmp_path: Path) -> None:
    shop = told.copy(tmp_path / "shop")
    assert shop.run("consent", "withdraw", STAYED, THIRD, by=OFFICER).code == 0
    answer = ask(shop, "copies-stopped", "--subject", STAYED)
    assert [row["copy"].split(":")[0] for row in answer["facts"]["copies"]] == ["every read"]
    assert not {"build.must_retrain", "notice.opened"} & actions(answer)
    assert {row["recall"] for row in ask(shop, "recipients", "--subject", STAYED)["facts"]["recipients"]} == {"-"}


def test_whoever_was_on_no_list_is_not_said_to_have_left_it(told: Shop, tmp_path: Path) -> None:
    shop, build = told.copy(tmp_path / "shop"), told.newest("returners").id
    absent = next(key for key in SUBJECTS[10:] if key not in REFUSING and key not in set(shop.inside(build)))
    assert shop.run("consent", "withdraw", absent, ADS, by=OFFICER).code == 0
    answer = ask(shop, "copies-stopped", "--subject", absent, "--segment", "returners")
    rows = {row["copy"]: row["stopped"] for row in answer["facts"]["copies"]}
    assert rows[f"list of build {build}"] == "not on the list today" and rows[f"model of build {build}"].endswith("marked before this no")
    assert any("lists keep no past" in what for what in answer["unrecorded"])


def test_recipients_and_copies_of_a_past_day_know_nothing_of_what_came_later(
    told: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import engine.workspace

    shop, today = told.copy(tmp_path / "shop"), dt.datetime.now(dt.UTC)
    monkeypatch.setattr(engine.workspace, "now", lambda: today + dt.timedelta(days=2))
    assert shop.run("segments", "export", "groups", "--to", str(tmp_path / "more.csv"), by=OFFICER).code == 0
    for notice in shop.run("segments", "notices", "--json", by=OFFICER).data["notices"]:
        assert shop.run("segments", "acknowledge", notice["notice"], by=OFFICER).code == 0
    day = "--on", f"{today:%Y-%m-%d}"
    then, now = (ask(shop, "recipients", "--subject", LEFT, *when)["facts"]["recipients"] for when in (day, ()))
    assert len(now) == len(then) + 1 and "acknowledged" in str(now) and "acknowledged" not in str(then)
    assert "not acknowledged" in str(ask(shop, "copies-stopped", "--subject", LEFT, *day)["facts"]["copies"])
    sent, states = ask(shop, "automated-decisions", "--segment", "groups", *day), ask(shop, "erasure", *day)["facts"]["out_of_reach"]
    assert sent["facts"]["builds"][0]["handed to"].count("mail") == 1 and any("as of today" in what for what in sent["unrecorded"])
    assert len([row for row in states if row["out of reach"].startswith("list handed")]) == len(then)
    waiting = [row for row in ask(shop, "past-retention", *day)["facts"]["overdue"] if row["what"].startswith("notice")]
    assert waiting and not ask(shop, "past-retention")["facts"]["overdue"]
    models = ask(shop, "models-with-subject", "--subject", STAYED, *day)
    assert {(row["status"], row["to be trained anew by"] != "-") for row in models["facts"]["models"]} == {("released", True)}
    assert shop.run("segments", "recall", "groups", by=OFFICER).code == 0
    then, now = (ask(shop, "policy-of-build", "--segment", "groups", *when) for when in (day, ()))
    assert (then["facts"]["status"], now["facts"]["status"]) == ("released", "recalled")
    assert not any("states" in what for what in (*then["unrecorded"], *models["unrecorded"]))


def test_recipients_are_told_with_what_became_of_the_recall(told: Shop, tmp_path: Path) -> None:
    shop = told.copy(tmp_path / "shop")
    waiting = ask(shop, "recipients", "--subject", LEFT)["facts"]["recipients"]
    asked = [row for row in waiting if row["this subject"] == "was asked to delete them"]
    assert asked and {row["recipient"] for row in asked} == {"mail"}
    for notice in shop.run("segments", "notices", "--json", by=OFFICER).data["notices"]:
        assert shop.run("segments", "acknowledge", notice["notice"], by=OFFICER).code == 0
    answer = ask(shop, "recipients", "--subject", LEFT)
    done = [row for row in answer["facts"]["recipients"] if "acknowledged" in row["recall"]]
    assert len(done) == len(asked) and "just after their no" in done[0]["this subject"]
    assert {"export.intended", "export.finished", "notice.opened", "notice.acknowledged"} <= actions(answer)


def test_whoever_was_in_no_list_was_handed_to_nobody(built: Shop) -> None:
    assert ask(built, "recipients", "--subject", STAYED)["facts"]["recipients"] == []


# -- signals -------------------------------------------------------------------------------------------------------------


def test_gpc_is_an_objection_to_sale_and_sharing(told: Shop) -> None:
    one = ask(told, "gpc", "--subject", SIGNALLED)
    assert {event["status"] for event in one["facts"]["events"]} == {"objected"} and THIRD in {e["purpose"] for e in one["facts"]["events"]}
    every = ask(told, "gpc")
    counts = {row["purpose"]: row["events, exact"] for row in every["facts"]["objections"]}
    assert counts[THIRD] == 1 and ADS not in counts and actions(every) == {"consent.append"}
    assert ask(told, "gpc", "--subject", STAYED)["unrecorded"] == ["a GPC signal of this subject"]


def test_of_conflicting_signals_the_one_that_counts_is_told(told: Shop) -> None:
    answer = ask(told, "conflicting-signals", "--subject", LEFT)
    assert {(row["status"], row["becomes of it"]) for row in answer["facts"]["signals"]} == {
        ("given", "older than what counts"),
        ("withdrawn", "counts"),
    }
    assert ask(told, "conflicting-signals", "--subject", STAYED)["facts"]["conflicts"] == 0


def test_asking_again_does_not_beat_a_no(told: Shop, tmp_path: Path) -> None:
    shop = told.copy(tmp_path / "shop")
    (shop.root / "again.csv").write_text(
        f"subject,purpose,status,event_time\n{LEFT},{ADS},requested,{dt.datetime.now(dt.UTC).isoformat()}\n"
    )
    assert shop.run("consent", "import", str(shop.root / "again.csv"), by=OFFICER).code == 0
    rows = ask(shop, "conflicting-signals", "--subject", LEFT)["facts"]["signals"]
    assert {row["status"]: row["becomes of it"] for row in rows} == {
        "given": "older than what counts",
        "withdrawn": "counts",
        "requested": f"later, and no consent to {ADS} itself, which alone lifts a no",
    }
