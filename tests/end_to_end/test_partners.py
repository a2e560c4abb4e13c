"""A partner's home: it joins what it agreed to and nothing else, refuses by its own rules, and shows who was in which round."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from audit import verify
from audit.merkle import IntegrityError
from engine import assess
from engine.demo.agents import started
from engine.gates import Refused
from engine.outcome import Outcome
from engine.partners import finishing, identity, joining, places
from engine.partners.book import DurableBook
from engine.partners.home import PartnerHome
from federated import rounds, wire
from federated import transcript as transcripts
from federated.cohort import FederatedCohort
from federated.contract import Collaboration, agreed
from federated.courier import Answerer, InProcess
from federated.flower.certificates import authority
from federated.messages import Step
from federated.questions import Asked
from federated.replies import AbortedError
from federated.transcript import Left, TranscriptFile
from governance import builds, key_backup, partnerships
from governance.builds import Status
from governance.principals import UNSAFE_VARIABLE
from policies.documents import Digest
from tests.fakes import ZeroNoise
from tests.links import ROOT, free_port
from tests.partnerships import NAME, House, at_work, contract_of, courier, houses, how_many, joined, outcome, signed
from tests.scenes import ADS, ANALYST, GROUPS, OFFICER, POLICY, REFUSING, RETURNERS, SUBJECTS, Shop


@pytest.fixture(scope="module")
def made_houses(made: Shop, tmp_path_factory: pytest.TempPathFactory) -> list[House]:
    """Two shops with keys."""
    return houses(made, tmp_path_factory.mktemp("houses"))


@pytest.fixture
def two(made_houses: list[House], tmp_path: Path) -> list[House]:
    """Copies of them."""
    return [House(house.shop.copy(tmp_path / house.name / "shop"), house.name) for house in made_houses]


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    """Of a link that nobody keeps."""
    file = tmp_path / "ca.pem"
    file.write_bytes(authority("nobody", dt.datetime.now(dt.UTC)).certificate)
    return file


def answered(house: House) -> list[dict[str, Any]]:
    """What the log says of each reply."""
    return [entry["facts"] for entry in house.shop.log() if entry["action"] == "collaboration.answered"]


def envelope(two: Sequence[House], contract: Collaboration, at: Path) -> str:
    at.write_bytes(signed(two, contract))
    return str(at)


def test_init_makes_keys_once_and_shows_their_public_halves(made: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_backup, "COST", 2)
    shop = made.copy(tmp_path / "shop")
    first, again = (shop.run("partner", "init", "--json") for _ in range(2))
    assert first.code == 0 and first.data == again.data and first.data["name"] == "shop"
    assert first.data["verifier_key"].startswith("shop+") and first.data["node_key"].startswith("ecdsa-sha2-nistp384 ")
    files = {path.name: path.stat().st_mode & 0o777 for path in (shop.root / ".consentric" / "keys").iterdir() if path.is_file()}
    assert files["partner.key"] == files["node.key"] == 0o600
    told = [entry["facts"]["verifier_key"] for entry in shop.log() if entry["action"] == "partner.identity"]
    assert told == [first.data["verifier_key"]] * 2
    other = shop.run("partner", "init", "--name", "another")
    assert other.code == 2 and "keys are made once" in other.err
    assert shop.run("partner", "init", by=OFFICER).code == 3
    passphrase = {"CONSENTRIC_KEY_PASSPHRASE": "correct horse battery staple"}
    assert shop.run("keys", "backup", str(tmp_path / "backup"), env=passphrase).code == 0
    for name in ("partner.key", "partner.vkey", "node.key"):
        (shop.root / ".consentric" / "keys" / name).unlink()
    assert shop.run("keys", "restore", str(tmp_path / "backup"), env=passphrase).code == 0
    assert shop.run("partner", "init", "--json").data == first.data


@pytest.mark.parametrize(
    "words",
    [
        ("init",),
        ("join", "joint.json", "--digest", "sha256:" + "0" * 64, "--segment", "groups"),
        ("run", NAME, "--link", "127.0.0.1:1", "--ca", "ca.crt"),
        ("prove", NAME, "--round", "1", "--subject", SUBJECTS[0], "--to", "round.json"),
        ("transcript", "show", NAME),
    ],
    ids=" ".join,
)
def test_whoever_has_no_role_gets_nothing(made_houses: list[House], words: tuple[str, ...]) -> None:
    ran = made_houses[0].shop.run("partner", *words, by="nobody")
    assert ran.code == 3 and ran.out == ""


def test_wrong_words_are_told_with_the_way_out(two: list[House], tmp_path: Path, ca: Path) -> None:
    shop, key = two[0].shop, str(identity.keys(two[0].shop.workspace()).verifier)
    joined(two)
    file = tmp_path / "file"
    file.write_bytes(b"garbage")
    for words, code, said in (
        (("run", "another", "--link", "127.0.0.1:1", "--ca", str(ca)), 2, f"got `{NAME}`"),
        (("run", NAME, "--link", "nowhere", "--ca", str(ca)), 2, "expected HOST:PORT"),
        (("run", NAME, "--link", "127.0.0.1:70000", "--ca", str(ca)), 2, "expected HOST:PORT"),
        (("run", NAME, "--link", "127.0.0.1:1", "--ca", str(file)), 2, "is no certificate (PEM)"),
        (("run", NAME, "--link", "127.0.0.1:1", "--ca", str(tmp_path / "none")), 2, "cannot be read"),
        (("transcript", "show", NAME), 2, f"partner run {NAME}"),
        (("transcript", "verify", str(file), "--key", "abc"), 2, "`name+hash+key`"),
        (("transcript", "verify", str(tmp_path / "none"), "--key", key), 2, "cannot be read"),
        (("transcript", "verify", str(file), "--key", key), 6, ""),
        (("check", str(file), "--key", key), 6, "consentric.dev/round-opening/v1"),
        (("check", str(file), "--key", "abc"), 2, "--key"),
        (("prove", NAME, "--round", "1", "--subject", SUBJECTS[0], "--to", str(file)), 2, "in which a vector left: []"),
    ):
        ran = shop.run("partner", *words, by=OFFICER if words[0] == "prove" else ANALYST)
        assert ran.code == code and said in ran.err and "Traceback" not in ran.err, ran


def test_it_joins_what_it_agreed_to_once(two: list[House], tmp_path: Path) -> None:
    contract, shop = contract_of(two), two[0].shop
    file = envelope(two, contract, tmp_path / "joint.json")
    wrong = shop.run("partner", "join", file, "--digest", "sha256:" + "0" * 64, "--segment", "groups")
    assert wrong.code == 6 and "another contract" in wrong.err and contract.digest() in wrong.err
    assert shop.run("partner", "join", file, "--digest", "abc", "--segment", "groups").code == 2
    assert shop.run("partner", "join", str(tmp_path / "none.json"), "--digest", contract.digest(), "--segment", "groups").code == 2
    words = ("partner", "join", file, "--digest", contract.digest(), "--segment", "groups")
    assert shop.run(*words).code == 0
    again = shop.run(*words)
    assert again.code == 2 and "joined already" in again.err and f"partner run {NAME}" in again.err
    changed = contract_of(two, rounds=199)
    other = envelope(two, changed, tmp_path / "other.json")
    refused = shop.run("partner", "join", other, "--digest", changed.digest(), "--segment", "groups")
    assert refused.code == 2 and f"another contract named `{NAME}`" in refused.err and contract.digest() in refused.err
    facts = [entry["facts"] for entry in shop.log() if entry["action"] == "collaboration.joined"]
    assert [each["contract"] for each in facts] == [contract.digest()]


DIFFERENT: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "purpose": ({"purpose": "marketing.advertising.first_party"}, ("purpose", ADS, "`marketing.advertising.first_party`")),
    "model": ({"model": {"type": "clusters", "k": 4}}, ("model", "k: 3", "k: 4")),
    "privacy": ({"privacy": {"epsilon": 1.0, "delta": 1e-6}}, ("privacy.epsilon", "`2`", "`1`", "privacy.delta", "`1e-05`")),
    "subjects": ({"max_subjects": 4000}, ("contracts/shop.yaml", "max_subjects", "at most 4000")),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_a_segment_that_is_not_what_the_contract_says_is_told_with_every_difference(two: list[House], tmp_path: Path, what: str) -> None:
    changed, said = DIFFERENT[what]
    contract = contract_of(two, **changed)
    ran = two[0].shop.run(
        "partner", "join", envelope(two, contract, tmp_path / "joint.json"), "--digest", contract.digest(), "--segment", "groups"
    )
    assert ran.code == 2 and all(each in ran.err for each in said), ran.err


def test_a_contract_over_another_grid_than_this_release_has_is_not_joined(two: list[House], tmp_path: Path) -> None:
    contract = contract_of(two, grid={"feature": 1024})
    file = envelope(two, contract, tmp_path / "joint.json")
    ran = two[0].shop.run("partner", "join", file, "--digest", contract.digest(), "--segment", "groups")
    assert ran.code == 2 and "`grid.feature` is `1024`" in ran.err


def test_each_feature_that_differs_has_a_line_of_its_own(two: list[House], tmp_path: Path) -> None:
    features = {
        "frequency": {"meaning": "purchases", "bounds": ["0", "41"], "scale": "log"},
        "recency": {"meaning": "days since the last", "bounds": ["0", "181"], "scale": "log"},
        "tenure": {"meaning": "days since the first", "bounds": ["0", "181"]},
    }
    contract, shop = contract_of(two, features=features), two[0].shop
    ran = shop.run("partner", "join", envelope(two, contract, tmp_path / "j"), "--digest", contract.digest(), "--segment", "groups")
    lines = [line for line in ran.err.splitlines() if "segments/groups.yaml" in line]
    assert ran.code == 2 and len(lines) == 4, ran.err
    for said in ("features.frequency.bounds: got `[0, 40]`", "features.recency.scale: got `linear`", "tenure", "features.spend: got"):
        assert sum(said in line for line in lines) == 1, (said, ran.err)


@pytest.mark.parametrize(
    ("here", "there", "differs"), [("GBP", "EUR", True), ("EUR", "EUR", False), ("", "EUR", False), ("EUR", "", False)]
)
def test_a_number_in_another_unit_is_another_number(made_houses: list[House], here: str, there: str, differs: bool) -> None:
    contract = contract_of(made_houses)
    spend = contract.features["spend"].model_copy(update={"unit": there})
    contract = contract.model_copy(update={"features": {**contract.features, "spend": spend}})
    workspace = made_houses[0].shop.workspace()
    bought = workspace.contract("shop").tables["purchases"]
    amount = bought.columns["amount"].model_copy(update={"unit": here or None})
    tables = {"purchases": bought.model_copy(update={"columns": {**bought.columns, "amount": amount}})}
    found = list(joining.differences(contract, workspace.segment("groups"), tables))
    assert found == ([(("features", "spend", "agg"), "a number in `GBP`", "one in `EUR`")] if differs else [])


def test_a_policy_that_refuses_what_nobody_can_judge_takes_no_part_with_attributes(two: list[House]) -> None:
    two[0].shop.write("segments", {**GROUPS, "fairness": RETURNERS["fairness"]})
    two[0].shop.write("policies", {**POLICY, "fairness": {**POLICY["fairness"], "on_inconclusive": "refuse"}})
    joined(two)
    with pytest.raises(Refused, match="partners do not ask each other about groups"), two[0].participation(ZeroNoise()):
        pass
    assert not [entry for entry in two[0].shop.log() if entry["action"].startswith("budget.")]  # before anything was counted


def test_a_partner_whom_the_contract_does_not_name_cannot_join(two: list[House], made: Shop, tmp_path: Path) -> None:
    contract = contract_of(two)
    file, stranger = envelope(two, contract, tmp_path / "joint.json"), made.copy(tmp_path / "stranger" / "shop")
    words = ("partner", "join", file, "--digest", contract.digest(), "--segment", "groups")
    without = stranger.run(*words)
    assert without.code == 1 and "partner init" in without.err
    assert stranger.run("partner", "init").code == 0
    ran = stranger.run(*words)
    assert ran.code == 2 and "does not name this partner" in ran.err
    unsigned = (
        two[0].shop.run("partner", "join", *words[2:]) if (tmp_path / "joint.json").write_bytes(signed(two, contract)[:-300]) else None
    )
    assert unsigned is not None and unsigned.code == 2


def officers_are_told(shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str], third: dict[str, str]) -> None:
    """What left in three rounds and why somebody was not in the `third`, each with a folder that one command checks."""

    def asked(*words: str) -> tuple[dict[str, Any], Path, list[str]]:
        to = tmp_path / f"proof-{len([*tmp_path.glob('proof-*')])}"
        ran = shop.run("audit", "ask", *words, "--collaboration", NAME, "--proof", str(to), "--json", by=OFFICER)
        assert ran.code == 0, ran
        words_ = ran.err.strip().rpartition("verify.py ")[2].split()
        given = [str(to / word) if (to / word).exists() else word for word in words_]
        assert verify.main(given) == 0
        return ran.data["answer"], to, given

    told, to, given = asked("what-left")
    rounds_ = told["facts"]["rounds"]
    assert [row["round"] for row in rounds_] == ["1", "2", "3"] and all("vector" in row["what left"] for row in rounds_)
    assert told["facts"]["vectors"] == 3 and told["facts"]["refusals"] == 0 and told["facts"]["transcript"]["intact"]
    assert [float(row["ε so far"]) for row in rounds_] == sorted({float(row["ε so far"]) for row in rounds_})  # it grows
    kept, key, head = to / f"transcript-{NAME}.jsonl", told["facts"]["transcript"]["verifier_key"], told["facts"]["transcript"]["head"]
    assert shop.run("partner", "transcript", "verify", str(kept), "--key", key, "--head", head).code == 0
    kept.unlink()
    assert verify.main(given) == verify.BROKEN
    capsys.readouterr()
    for subject, reason in third.items():
        told, to, given = asked("subject-in-round", "--round", "3", "--subject", subject)
        assert told["facts"]["used"] == (reason == "") and told["facts"]["reasons"] == [reason or "admitted"]
        (opened,) = to.glob("opening-*-round-2.json")  # of the second round, since which nothing had changed
        assert f"in round 3 of `{NAME}`, `{subject}` was {'left out: ' if reason else 'used'}{reason}" in capsys.readouterr().out
        opened.write_text(opened.read_text().replace(subject, "somebody"))
        assert verify.main(given) == verify.BROKEN
    told, _, _ = asked("subject-in-round", "--round", "4", "--subject", next(iter(third)))
    assert told["facts"]["rounds"] == [1, 2, 3] and not told["facts"]["used"]
    capsys.readouterr()


@pytest.mark.slow
def test_whoever_withdraws_between_two_rounds_is_absent_from_the_second(
    two: list[House], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With no noise at all the sum shows it; the log, and a file for the subject, show it whatever the noise."""
    contract, leaving, staying, refusing = joined(two), SUBJECTS[0], SUBJECTS[2], min(REFUSING & {*SUBJECTS[::2]})
    with at_work(two, ZeroNoise()) as there:
        cohort = FederatedCohort(contract, courier(there))
        grants = cohort.grant().split(first=1, second=1, third=1)
        before = round(how_many(cohort, grants["first"]), 3)
        assert two[0].shop.run("consent", "withdraw", leaving, ADS).code == 0
        after = round(how_many(cohort, grants["second"]), 3)
        assert (before, after) == (2400, 2399) and round(how_many(cohort, grants["third"]), 3) == after
    told = [
        entry["facts"] for entry in two[0].shop.log() if entry["action"] == "collaboration.answered" and "consent_root" in entry["facts"]
    ]
    assert [each["round"] for each in told] == [1, 2, 3] and [each["considered_since"] for each in told] == [1, 2, 2]
    assert told[0]["consent_root"] != told[1]["consent_root"] == told[2]["consent_root"]
    assert len({facts.get("consent_root") for facts in answered(two[1])} - {None}) == 1  # nobody left there
    key = (two[0].shop.root / ".consentric" / "keys" / "log.vkey").read_text().strip()
    for subject, number, said in (
        (leaving, 1, "used"),
        (leaving, 2, "left out: withdrawn"),
        (leaving, 3, "left out: withdrawn"),
        (staying, 3, "used"),
        (refusing, 1, "left out: refused"),
    ):
        file = tmp_path / f"{subject}-{number}.json"
        words = ("partner", "prove", NAME, "--round", str(number), "--subject", subject, "--to", str(file))
        shown = two[0].shop.run(*words, by=OFFICER)
        assert shown.code == 0 and f"round {number} of `{NAME}`, `{subject}` was {said}" in shown.out, shown
        checked = two[0].shop.run("partner", "check", str(file), "--key", key)
        assert checked.code == 0 and said in checked.out and len({*SUBJECTS} & {*file.read_text().split('"')}) == 0
    officers_are_told(two[0].shop, tmp_path, capsys, {leaving: "withdrawn", staying: "", refusing: "refused"})
    document = json.loads(file.read_text())
    document["opening"]["value"] = document["opening"]["value"].replace(refusing, staying)
    file.write_text(json.dumps(document))
    assert two[0].shop.run("partner", "check", str(file), "--key", key).code == 6
    other = str(identity.keys(two[0].shop.workspace()).verifier)  # not the log's
    assert two[0].shop.run("partner", "check", str(tmp_path / f"{leaving}-1.json"), "--key", other).code == 6
    absent = two[0].shop.run("partner", "prove", NAME, "--round", "1", "--subject", "nobody", "--to", str(tmp_path / "x"), by=OFFICER)
    assert absent.code == 2 and "no leaf" in absent.err
    kept = places.folder(two[0].shop.workspace(), NAME)
    (kept / "rounds").unlink()
    with at_work(two[:1]) as there:
        assert there["p0"].memory.last == 3  # no round begins twice because a file was lost
    private = [path for place in (kept, two[0].shop.root / ".consentric" / "rounds") for path in (place, *place.rglob("*"))]
    assert len(private) > 5 and not [path for path in private if path.stat().st_mode & 0o077]
    assert two[0].shop.run("partner", "prove", NAME, "--round", "1", "--subject", leaving, "--to", str(tmp_path / "x")).code == 3


def ask(shop: Shop, *words: str) -> dict[str, Any]:
    ran = shop.run("audit", "ask", *words, "--collaboration", NAME, "--json", by=OFFICER)
    assert ran.code == 0, ran
    answer: dict[str, Any] = ran.data["answer"]
    return answer


def test_what_left_is_told_from_the_day_of_joining_and_to_whoever_may_read_the_log(two: list[House]) -> None:
    """In the entry of each vector is the record of whom it was about: another one says that somebody came or went between two rounds."""
    joined(two)
    with at_work(two):
        pass
    shop = two[0].shop
    told = ask(shop, "what-left")
    assert (
        told["facts"]["payloads"] == 0 and "nothing had left until then" in str(told["unrecorded"]) and "missing" not in str(told["says"])
    )
    before = shop.run("audit", "ask", "what-left", "--collaboration", NAME, "--on", "2024-01-01", by=OFFICER)
    assert before.code == 2 and "expected a day from" in before.err
    assert shop.run("audit", "ask", "what-left", "--collaboration", NAME, by=ANALYST).code == 3


def test_a_changed_contract_is_refused_before_a_row_is_read(two: list[House]) -> None:
    joined(two)
    changed = contract_of(two, rounds=201)
    other = agreed(signed(two, changed), changed.digest())
    with at_work(two) as there:
        cohort = FederatedCohort(other, courier(there))
        with pytest.raises(AbortedError, match="`p0`: contract"):
            how_many(cohort, cohort.grant())
    for house in two:
        assert not list((house.shop.root / ".consentric").glob("rounds/*/*")) and not drawn(house)
        assert [facts["code"] for facts in answered(house)] == ["contract"]


def drawn(house: House) -> list[dict[str, Any]]:
    build = house.shop.newest("groups")
    return [e["facts"] for e in house.shop.log() if e["action"] == "budget.drawn" and e["facts"]["reservation"] == build.reservation]


@pytest.mark.slow
def test_out_of_budget_it_refuses_and_is_charged_nothing(two: list[House]) -> None:
    contract = joined(two)
    with at_work(two) as there:
        cohort = FederatedCohort(contract, courier(there))
        grants = cohort.grant().split(most=9, rest=1)
        how_many(cohort, grants["most"])
        for grant in (replace(grants["rest"], mu_squared=grants["most"].mu_squared), grants["most"]):  # too much, and the same once more
            with pytest.raises(AbortedError, match="`p0`: refused, `p1`: refused"):
                how_many(cohort, grant)
        how_many(cohort, grants["rest"])
    assert [each["path"] for each in drawn(two[0])] == [grants["most"].path, grants["rest"].path]
    del there, cohort  # and with them what holds the workspace in use
    secret = places.folder(two[0].shop.workspace(), NAME) / "secret"
    assert secret.exists()
    assert two[0].shop.run("doctor", "--repair").code == 0 and not secret.exists()  # closed without an outcome


@pytest.mark.slow
def test_before_the_link_is_reached_nothing_is_reserved_and_a_demo_that_is_gone_takes_its_partners_with_it(
    two: list[House], tmp_path: Path, ca: Path
) -> None:
    contract, shop = joined(two), two[0].shop
    words = ("partner", "run", contract.contract.name, "--link", f"127.0.0.1:{free_port()}", "--ca", str(ca), "-w", str(shop.root))
    agent = started("the agent", tmp_path / "said", words, {**os.environ, UNSAFE_VARIABLE: ANALYST, "PYTHONPATH": str(ROOT)})
    try:
        agent.wait_for("nobody listens at that address")
        assert agent.process.poll() is None  # it goes on trying
        assert agent.process.stdin is not None
        agent.process.stdin.close()  # as the system does with whoever started it
        assert agent.process.wait(20) == 0
    finally:
        agent.end()
    assert "stopped before any round" in agent.said.read_text()
    with shop.workspace().store.read() as session:
        found = partnerships.find(session, NAME)
        assert not builds.builds(session, "groups") and found is not None and found.build is None


def test_below_its_own_noisy_floor_it_does_not_begin_and_says_nothing(two: list[House], monkeypatch: pytest.MonkeyPatch, ca: Path) -> None:
    contract = joined(two)
    original = PartnerHome.willing

    def small(self: PartnerHome, asked: Asked) -> bool:
        policy = self.taking.prepared.policy.model_copy(update={"cohort_floor": 1300})  # its 1200 are below, noisily
        return original(replace(self, taking=replace(self.taking, prepared=replace(self.taking.prepared, policy=policy))), asked)

    with monkeypatch.context() as later, at_work(two) as there:
        later.setattr(PartnerHome, "willing", small)
        cohort = FederatedCohort(contract, courier(there))
        with pytest.raises(AbortedError, match="`p0`: refused, `p1`: refused"):
            how_many(cohort, cohort.grant())
    assert not drawn(two[0])
    del there, cohort  # and with them what holds the workspace in use
    assert f"consentric partner run {NAME} goes on with it" in two[0].shop.run("doctor").out
    two[1].shop.write("policies", {**POLICY, "cohort_floor": 1300})
    ran = two[1].shop.run("partner", "run", NAME, "--link", "127.0.0.1:1", "--ca", str(ca))
    assert ran.code == 3 and "rounds-pin-their-documents" in ran.err  # it had begun by another policy


@pytest.mark.slow
def test_a_reply_that_the_log_does_not_have_is_not_said_when_it_is_asked_again(
    two: list[House], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A disk that is full for a moment: the coordinator asks once more, with the same bytes. What was charged for it is charged once."""
    contract = joined(two)
    asked = wire.Message(contract.digest, 0, Step.HELLO, ({"once": "0" * 32}, [])).encoded()
    with at_work(two[:1]) as there:
        with monkeypatch.context() as later:

            def full(*_given: object) -> dict[str, Any]:
                raise OSError(28, "no space left on device")

            later.setattr(DurableBook, "_told", full)
            assert there["p0"].answer(asked) == b"" and not answered(two[0])
        assert there["p0"].answer(asked)
        assert [facts["entry"] for facts in answered(two[0])] == [1]
        assert there["p0"].answer(asked + bytes(1 << 20))  # refused, and no way to fill the disk
        replies = places.folder(two[0].shop.workspace(), NAME) / places.REPLIES
        assert sum(path.stat().st_size for path in replies.iterdir()) < 1 << 12
    with at_work(two, ZeroNoise()) as there, monkeypatch.context() as later:
        cohort = FederatedCohort(contract, courier(there))
        whole = TranscriptFile.append

        def once(file: TranscriptFile, left: Left, at: str) -> Digest:
            if left.step == Step.VECTOR and drawn(two[0]):
                later.undo()
                raise OSError(28, "no space left on device")
            return whole(file, left, at)

        later.setattr(TranscriptFile, "append", once)
        with pytest.raises(AbortedError, match="`p0`: lost"):
            how_many(cohort, cohort.grant().split(first=1, second=1)["first"])
        assert len(drawn(two[0])) == 1
    leaving = SUBJECTS[0]
    two[0].shop.withdraw([leaving])
    with at_work(two, ZeroNoise()) as there:  # as other processes, for the people of now
        cohort = FederatedCohort(contract, courier(there))
        grants = cohort.grant().split(first=1, second=1)
        assert [round(how_many(cohort, grant), 3) for grant in grants.values()] == [2399, 2399]
    proved = two[0].shop.run("partner", "prove", NAME, "--round", "1", "--subject", leaving, "--to", str(tmp_path / "x"), by=OFFICER)
    assert proved.code == 0 and "left out: withdrawn" in proved.out
    refused = {"p0": ["message"], "p1": []}
    for house in two:
        assert [facts["path"] for facts in drawn(house)] == [f"{NAME}/first", f"{NAME}/second"]
        key, kept = identity.keys(house.shop.workspace()).verifier, places.folder(house.shop.workspace(), NAME)
        found = transcripts.verify((kept / "transcript.jsonl").read_bytes(), key, answered(house)[-1]["transcript"])
        assert not found.findings and [facts["code"] for facts in answered(house) if "code" in facts] == refused[house.name]
    (kept / "transcript.jsonl").write_bytes(b"")
    with pytest.raises(IntegrityError, match="lacks lines that the log has"), two[1].participation(ZeroNoise()):
        pass


@pytest.mark.slow
def test_what_was_charged_and_did_not_leave_does_not_leave_after_the_end(two: list[House], monkeypatch: pytest.MonkeyPatch) -> None:
    contract = joined(two)
    with at_work(two, ZeroNoise()) as there:
        cohort = FederatedCohort(contract, courier(there))
        grant = cohort.grant().split(first=1, second=1)["first"]
        with monkeypatch.context() as later:
            whole = TranscriptFile.append

            def full(file: TranscriptFile, left: Left, at: str) -> Digest:
                if left.step == Step.VECTOR:
                    raise OSError(28, "no space left on device")
                return whole(file, left, at)

            later.setattr(TranscriptFile, "append", full)
            with pytest.raises(AbortedError, match="`p0`: lost, `p1`: lost"):
                how_many(cohort, grant)

        def ends(request: bytes) -> bytes:
            if wire.message(request).step is Step.VECTOR:
                assert not rounds.finish(contract, courier(there), outcome().canonical())[1]
            return there["p0"].answer(request)

        with pytest.raises(AbortedError, match="`p0`: refused, `p1`: refused"):
            how_many(FederatedCohort(contract, InProcess({"p0": ends, "p1": there["p1"].answer}), 2), grant)
    assert [len(drawn(house)) for house in two] == [1, 1]


@pytest.mark.slow
def test_whoever_was_killed_after_its_vector_left_signs_and_opens(made: Shop, tmp_path: Path) -> None:
    """Its question is paid by then, which is no reason to refuse it."""
    three = houses(made, tmp_path, 3)
    contract = joined(three, least_partners=2, dropouts=1)
    for ends in (Step.ATTEST, Step.OPENING, None):
        with at_work(three, ZeroNoise()) as there:

            def until(request: bytes, answer: Answerer, ends: Step | None = ends) -> bytes:
                return b"" if wire.message(request).step is ends else answer(request)

            cohort = FederatedCohort(contract, InProcess({name: partial(until, answer=each.answer) for name, each in there.items()}))
            if ends is not None:
                with pytest.raises(AbortedError, match="`p0`: lost"):
                    how_many(cohort, cohort.grant())
            else:
                assert round(how_many(cohort, cohort.grant()), 3) == 2400
    assert all(len(drawn(house)) == 1 for house in three)


@pytest.mark.slow
def test_a_policy_that_changes_while_it_takes_part_stops_it(two: list[House]) -> None:
    contract = joined(two)
    with at_work(two) as there:
        cohort = FederatedCohort(contract, courier(there))
        grants = cohort.grant().split(first=1, second=1)
        how_many(cohort, grants["first"])
        two[0].shop.write("policies", {**POLICY, "rules": [rule for rule in POLICY["rules"] if rule["id"] != "buys"]})
        with pytest.raises(AbortedError, match="`p0`: refused"):
            how_many(cohort, grants["second"])


@pytest.mark.slow
def test_what_partners_learned_assigns_people_at_home_and_is_released_like_any_build(two: list[House], tmp_path: Path, ca: Path) -> None:
    contract = joined(two)
    gone, shop = SUBJECTS[0], two[0].shop
    told = outcome()
    with at_work(two, ZeroNoise()) as there:
        cohort = FederatedCohort(contract, courier(there)).seeing(verify.canonical(told.model))
        sizes = assess.sizes(cohort, 3, cohort.grant(), ZeroNoise()).values
        shop.withdraw([gone])
        acknowledged, silent = rounds.finish(contract, courier(there), told.canonical())
        assert not silent and {*acknowledged} == {"p0", "p1"}
        again, _ = rounds.finish(contract, courier(there), told.canonical())
        assert {*again} == {"p0", "p1"}
        other = told.model_copy(update={"headline": "something else"})
        assert rounds.finish(contract, courier(there), other.canonical()) == ({}, {"p0": "fault", "p1": "fault"})
    del there, cohort  # and with them what holds the workspace in use
    ended = shop.run("partner", "run", NAME, "--link", "127.0.0.1:1", "--ca", str(ca))
    assert ended.code == 2 and "has ended" in ended.err
    build = shop.newest("groups")
    assert build.status is Status.QUARANTINED and build.retrain_by is not None  # whose rows were in a round left
    inside = [house.shop.inside(house.shop.newest("groups").id) for house in two]
    assert gone not in inside[0] and [len(each) for each in inside] == [1199, 1200]
    assert sizes.sum().round(3) == 2400 and sorted(parts(two) - sizes.round(3)) == [-1, 0, 0]  # the same model, asked in rounds and at home
    assert shop.run("approve", "groups", by=OFFICER).code == 0 and shop.whole("groups")
    assert {row["segment"] for row in shop.run("segments", "members", "groups", "--json").data["members"]} == {"low", "middle", "high"}
    file = tmp_path / "opening.json"
    assert shop.run("audit", "prove", "groups", "--subject", gone, "--to", str(file), by=OFFICER).out.count("left out: withdrawn") == 1
    passport = json.loads(build.facts["passport"])
    joint = passport["joint"]
    heads = transcript(shop, tmp_path)["entries"]
    assert joint["contract"] == contract.digest.removeprefix("sha256:") and joint["partners"][0]["name"] == "p0"
    assert f"sha256:{joint['partners'][0]['transcript']}" == acknowledged["p0"].head and len(heads) == 6
    assert abs(joint["partners"][0]["epsilon"] - 2.0) < 1e-9
    (shop.root / "data" / "consents.csv").unlink()
    assert shop.run("rights", "erase", SUBJECTS[2], "--yes", by=OFFICER).code == 0  # nothing of them is left in any file
    assert shop.run("consent", "grant", SUBJECTS[2], ADS, by=OFFICER).code == 0
    back = ask(shop, "subject-in-round", "--round", "1", "--subject", SUBJECTS[2])  # they were used, their leaf is gone, and they are back
    assert "used" not in back["facts"] and "were erased since" in str(back["unrecorded"])
    assert shop.run("sweep", by=OFFICER).code == 0 and shop.run("doctor").code == 0
    assert shop.run("segments", "recall", "groups", by=OFFICER).code == 0
    assert not list((shop.root / ".consentric").glob("rounds/*"))


def parts(two: Sequence[House]) -> Any:
    """(3,) people of both shops in each part."""
    found = np.zeros(3)
    for house in two:
        table = pq.read_table(house.shop.root / ".consentric" / "builds" / house.shop.newest("groups").id / "membership.parquet")
        found += [table["segment"].to_pylist().count(name) for name in ("low", "middle", "high")]
    return found


def transcript(shop: Shop, tmp_path: Path) -> dict[str, Any]:
    """As it is shown, once a copy of it was verified where nothing else is."""
    file = tmp_path / "transcript.jsonl"
    shown = shop.run("partner", "transcript", "show", NAME, "--to", str(file), "--json", by=ANALYST)
    assert shown.code == 0, shown
    key = shown.data["verifier_key"]
    alone = shop.run("partner", "transcript", "verify", str(file), "--key", key, "--json", env={"CONSENTRIC_WORKSPACE": str(tmp_path)})
    assert alone.code == 0 and alone.data["intact"] and alone.data["ended"], alone
    file.write_bytes(file.read_bytes().replace(b'"round":1', b'"round":2', 1))
    assert shop.run("partner", "transcript", "verify", str(file), "--key", key).code == 6
    data: dict[str, Any] = shown.data
    return data


@pytest.mark.slow
def test_an_outcome_that_is_none_and_a_model_that_does_not_fit_are_a_fixed_word_and_leave_the_build_open(two: list[House]) -> None:
    contract = joined(two)
    garbage = (b"", b"{}", b"[]", b'{"model":{}}', outcome().canonical() + b" ", outcome().canonical().replace(b'"low"', b'"=ow"'))
    narrow = Outcome.model_validate(outcome().model_dump() | {"model": {"kind": "centres", "centres": [[0, 1]] * 3}})
    few = Outcome.model_validate(outcome().model_dump() | {"parts": outcome().model_dump()["parts"][:2]})
    unknown = Outcome.model_validate(outcome().model_dump() | {"model": {"kind": "something"}})
    with at_work(two[:1]) as there:
        for told in (*garbage, *(each.canonical() for each in (narrow, few, unknown))):
            assert rounds.finish(contract, courier(there), told)[1]["p0"] == "fault"
        assert two[0].shop.newest("groups").status is Status.BUILDING
        cohort = FederatedCohort(contract, courier(there)).seeing(b'{"kind":"something"}')
        with pytest.raises(AbortedError, match="`p0`: question"):
            how_many(cohort, cohort.grant())


@pytest.mark.slow
@pytest.mark.parametrize("how", ["raises", "no such part"])
def test_no_row_decides_what_an_outcome_is_answered_with(two: list[House], how: str) -> None:
    """The outcome can be sent as often as its sender likes: a `fault` that depends on a row would be an answer that nobody paid for."""
    contract = joined(two)
    everybody = [[0, -30000, 0], [0, 0, 0], [0, 30000, 0]]
    numbers = [0, 1] if how == "raises" else [0, 1, 7]  # of whoever is nearest to the third site, who are there
    model = outcome().model_dump()["model"] | {"sites": everybody, "parts": numbers, "reach": 2.0**53}
    with at_work(two[:1]) as there:
        taken, silent = rounds.finish(
            contract, courier(there), Outcome.model_validate(outcome().model_dump() | {"model": model}).canonical()
        )
        assert {*taken} == {"p0"} and "p0" not in silent
    build = two[0].shop.newest("groups")
    assert build.status is Status.QUARANTINED and 0 < len(two[0].shop.inside(build.id)) < 1200


@pytest.mark.slow
def test_an_outcome_is_not_applied_where_the_policy_of_today_does_not_allow_it(two: list[House], monkeypatch: pytest.MonkeyPatch) -> None:
    contract = joined(two)
    read: list[object] = []
    with at_work(two[:1]) as there:
        two[0].shop.write("policies", {**POLICY, "rules": [rule for rule in POLICY["rules"] if rule["id"] != "buys"]})
        monkeypatch.setattr(finishing, "gathered", lambda *given: read.append(given))
        assert rounds.finish(contract, courier(there), outcome().canonical())[1]["p0"] == "refused"
    assert not read and two[0].shop.newest("groups").status is Status.BUILDING


@pytest.mark.slow
def test_a_part_below_the_partners_own_floor_is_withheld_whatever_it_is_told(two: list[House]) -> None:
    """The policy's floor is 100, and a coordinator says nothing of it."""
    contract = joined(two)
    small = [part | ({"size": 100.0, "sigma": 9.0} if part["name"] == "low" else {}) for part in outcome().model_dump()["parts"]]
    with at_work(two[:1]) as there:
        told = Outcome.model_validate(outcome().model_dump() | {"parts": small})
        assert "p0" in rounds.finish(contract, courier(there), told.canonical())[0]
    assert [part["withheld"] for part in two[0].shop.newest("groups").facts["parts"]] == [True, False, False]
