"""Joint runs with partners in memory: what comes of one, what others see of it, and that whoever is killed goes on with the same."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from audit import dsse, joint_passport, verify
from audit import log as audit_log
from audit.merkle import IntegrityError
from engine import outcome
from engine.answers import held
from engine.collaborations import evidence, running, terms
from engine.collaborations.contracts import Envelope
from engine.collaborations.result import told
from engine.collaborations.rounds import CollaborationError, OverError
from engine.collaborations.running import Ran
from engine.collaborations.status import Status, ran_text, status_of
from engine.gates import Refused
from engine.workspace import Workspace, WorkspaceError
from federated.contract import join, sign
from federated.messages import Step
from governance.accounting import epsilon_of
from governance.principals import UNSAFE_VARIABLE
from tests.collaborations import signers
from tests.joint import LEADER, LOGISTIC, Killed, Partners, agreed, blobs, leader, opened, partners, run
from tests.scenes import Ran as Said
from tests.scenes import run as command

AGREED = agreed(**LOGISTIC)
SIZES = (400, 0)
"""The second of three partners has nobody."""


def there(**changed: Any) -> Partners:
    found = partners(AGREED, blobs(), SIZES)
    for name, value in changed.items():
        setattr(found, name, value)
    return found


def actions(workspace: Workspace) -> list[dict[str, Any]]:
    with workspace.store.read() as session:
        return [entry.parsed for entry in audit_log.entries(session.connection(), 0)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Partners, Ran]:
    """A run that nobody disturbed."""
    workspace, courier = leader(tmp_path_factory.mktemp("whole") / "lead"), there()
    return workspace, courier, run(workspace, AGREED, courier)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return leader(tmp_path / "lead")


def test_every_partner_is_charged_what_the_contract_says_and_told_the_same(whole: tuple[Workspace, Partners, Ran]) -> None:
    _, courier, ran = whole
    assert not ran.silent and ran.result.propensity is not None and [part.id for part in ran.result.parts] == ["S1"]
    assert abs(ran.result.subjects.value - 1_500) < 6 * ran.result.subjects.sigma
    for place in courier.places.values():
        assert sum(place.meter.spent.values()) == place.meter.limit
        assert [outcome.read(came) for came in place.told] == [told(ran.result)]


def test_each_round_is_in_the_log_before_it_begins_and_after_it_ended(whole: tuple[Workspace, Partners, Ran]) -> None:
    workspace, courier, ran = whole
    entries = [entry for entry in actions(workspace) if entry["action"].startswith("collaboration.")]
    rounds = [(entry["action"].rpartition(".")[2], entry["facts"]["round"]) for entry in entries if "round" in entry["facts"]]
    numbers = [asked.round for asked in ran.result.asked]
    assert rounds == [(what, number) for number in numbers for what in ("intended", "answered")]
    assert sorted({number for number, _ in courier.steps if number}) == numbers == list(range(1, len(numbers) + 1))
    assert [entry["action"] for entry in entries if "round" not in entry["facts"]] == ["collaboration.learned", "collaboration.released"]


def test_the_passport_verifies_and_adds_up(whole: tuple[Workspace, Partners, Ran]) -> None:
    workspace, _, ran = whole
    envelope, key = ran.passport.read_bytes(), workspace.keys.signer.verifier
    passport = joint_passport.read(envelope, key)
    assert passport.rounds == len(ran.result.asked) and [share.name for share in passport.partners] == ["p0", "p1", "p2"]
    assert passport.privacy.epsilon is not None and passport.privacy.epsilon <= AGREED.contract.privacy.epsilon
    assert f"sha256:{passport.outcome}" == told(ran.result).digest()
    assert epsilon_of(sum(Fraction(asked.charged) for asked in ran.result.asked), passport.privacy.draws, 1e-5) == pytest.approx(
        passport.privacy.epsilon
    )
    with pytest.raises(IntegrityError, match="not signed"):
        joint_passport.read(envelope.replace(b'"payload": "e', b'"payload": "f'), key)


def test_the_page_shows_what_all_know_and_nothing_of_one_partner(whole: tuple[Workspace, Partners, Ran]) -> None:
    _, _, ran = whole
    page = ran.page.read_text()
    for words in ("p0, p1, p2", "likely", "euros spent in the last 90 days", "AUC", "training"):
        assert words in page
    assert "<script" not in page and "unrecorded" not in page


def test_the_page_says_of_who_signed_and_of_whom_nothing_had_left_that_it_has_the_model(whole: tuple[Workspace, Partners, Ran]) -> None:
    workspace, _, ran = whole
    passport = joint_passport.read(ran.passport.read_bytes(), workspace.keys.signer.verifier)
    first, *others = passport.partners
    late = replace(passport, partners=(replace(first, head=""), *others))
    page = evidence.write_page(workspace, AGREED, ran.result, late).read_text()
    assert "nothing had left it until then" in page and "has not said" not in page
    evidence.write_page(workspace, AGREED, ran.result, passport)


def test_a_second_run_asks_nobody(whole: tuple[Workspace, Partners, Ran]) -> None:
    workspace, courier, ran = whole
    before = len(courier.steps)
    again = run(workspace, AGREED, courier)
    assert courier.steps[before:] == [] and not again.silent
    assert again.result == ran.result and again.passport.read_bytes() == ran.passport.read_bytes()
    assert [entry["action"] for entry in actions(workspace)].count("collaboration.released") == 1


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_at_every_message_it_ends_as_if_it_had_not_been(
    whole: tuple[Workspace, Partners, Ran], workspace: Workspace, moment: str
) -> None:
    left = {(number, step) for number, step in whole[1].steps if number}
    courier = there()

    def die(number: int, step: Step) -> None:
        if (number, step) in left:
            left.remove((number, step))
            raise Killed

    setattr(courier, moment, die)
    kills = 0
    while True:
        try:
            ran = run(opened(workspace.root), AGREED, courier)
            break
        except Killed:
            kills += 1
    assert kills == 2 * len(ran.result.asked) and not left
    assert ran.result.canonical() == whole[2].result.canonical()
    for name, place in courier.places.items():
        assert place.meter.spent == whole[1].places[name].meter.spent


def test_a_partner_that_is_killed_after_every_step_takes_its_seat_again(workspace: Workspace) -> None:
    courier = there()
    courier.after = lambda number, step: courier.places["p2"].start() if number > 1 else None
    ran = run(workspace, AGREED, courier)
    for place in courier.places.values():
        assert sum(place.meter.spent.values()) == place.meter.limit
    assert not [entry for entry in actions(workspace) if entry["action"] == "collaboration.round.aborted"] and ran.result.asked


def test_a_partner_that_lost_its_seat_when_others_may_have_paid_ends_the_run(workspace: Workspace) -> None:
    courier = there()

    def die(number: int, step: Step) -> None:
        if (number, step) == (3, Step.VECTOR):
            courier.before = lambda _number, _step: None
            courier.places["p1"].lose()
            raise Killed  # what is about to leave may have left

    courier.before = die
    with pytest.raises(Killed):
        run(workspace, AGREED, courier)
    with pytest.raises(OverError, match=r"round 3 was aborted, `p1`: order; .* sign a new contract"):
        run(opened(workspace.root), AGREED, courier)


def test_a_partner_that_lost_its_seat_before_anybody_paid_gets_another_round(workspace: Workspace) -> None:
    courier = there()

    def die(number: int, step: Step) -> None:
        if (number, step) == (3, Step.KEYS):
            courier.before = lambda _number, _step: None
            courier.places["p1"].memory.last = 3  # it sat down, and was killed before it had written what it said
            raise Killed

    courier.before = die
    with pytest.raises(Killed):
        run(workspace, AGREED, courier)
    ran = run(opened(workspace.root), AGREED, courier)
    assert [asked.round for asked in ran.result.asked][:4] == [1, 2, 4, 5]
    for place in courier.places.values():
        assert sum(place.meter.spent.values()) == place.meter.limit
    aborted = [entry["facts"] for entry in actions(workspace) if entry["action"] == "collaboration.round.aborted"]
    assert [(facts["round"], facts["paid"]) for facts in aborted] == [(3, False)]


def test_who_is_not_there_is_waited_for_and_nobody_pays(workspace: Workspace) -> None:
    courier = there(gone={"p2"})
    with pytest.raises(CollaborationError, match="not all partners are there: `p2`: did not answer; run again"):
        run(workspace, AGREED, courier)
    assert not any(place.meter.spent for place in courier.places.values())
    courier.gone.clear()
    assert run(opened(workspace.root), AGREED, courier).result.asked


def asked(workspace: Workspace, to: Path) -> dict[str, Any]:
    """The officer's question of it, whose folder verifies."""
    (workspace.root / "collaborations").mkdir(exist_ok=True)
    (workspace.root / "collaborations" / "joint.json").write_bytes(AGREED.envelope)
    words = "audit", "ask", "joint-training", "--collaboration", "joint", "--proof", str(to), "--json"
    told = command(*words, env={"CONSENTRIC_WORKSPACE": str(workspace.root), UNSAFE_VARIABLE: LEADER})
    assert told.code == 0, told
    given = [str(to / word) if (to / word).exists() else word for word in told.err.strip().rpartition("verify.py ")[2].split()]
    assert verify.main(given) == 0
    answer: dict[str, Any] = told.data["answer"]
    return answer


def test_a_partner_that_did_not_answer_after_others_paid_is_asked_the_same_again(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    courier = there()
    courier.before = lambda number, step: courier.gone.add("p2") if (number, step) == (2, Step.VECTOR) else None
    with pytest.raises(CollaborationError, match="round 2 was aborted, `p2`: lost; run again"):
        run(workspace, AGREED, courier)
    told = asked(workspace, tmp_path / "before")
    assert "partners" not in told["facts"] and any("what each partner charged" in lacking for lacking in told["unrecorded"])
    assert told["facts"]["rounds"][1]["what came of it"] == "aborted: round 2 was aborted, `p2`: lost; partners may have charged for it"
    courier.before, courier.gone = lambda _number, _step: None, set()
    ran = run(opened(workspace.root), AGREED, courier)
    assert [each.round for each in ran.result.asked][:3] == [1, 2, 3]
    assert all(sum(place.meter.spent.values()) == place.meter.limit for place in courier.places.values())
    told = asked(workspace, tmp_path / "after")
    assert [row["partner"] for row in told["facts"]["partners"]] == ["p0", "p1", "p2"] and not told["facts"]["silent"]
    assert told["facts"]["rounds"][1]["what came of it"] == "answered; aborted before, and asked again" and told["facts"]["aborted"] == 1
    document = tmp_path / "after" / "joint-passport-joint.json"
    assert checked(str(document), "--key", workspace.keys.verifier_key, "--digest", AGREED.digest).code == 0
    capsys.readouterr()


def test_what_was_paid_and_lost_is_never_asked_again(workspace: Workspace) -> None:
    courier = there()
    courier.before = lambda number, step: courier.places["p2"].lose() if (number, step) == (2, Step.VECTOR) else None
    with pytest.raises(OverError, match="round 2 was aborted, `p2`: order"):
        run(workspace, AGREED, courier)
    courier.before = lambda _number, _step: None
    asked = len(courier.steps)
    with pytest.raises(OverError, match="round 2 was aborted"):
        run(opened(workspace.root), AGREED, courier)
    assert len(courier.steps) == asked


def test_a_model_that_a_partner_does_not_have_yet_is_told_again(workspace: Workspace) -> None:
    courier = there()
    courier.before = lambda _number, step: courier.gone.add("p0") if step is Step.FINISH else None
    with pytest.raises(CollaborationError, match="not every partner has it: `p0`: did not answer"):
        run(workspace, AGREED, courier)
    courier.before, courier.gone = lambda _number, _step: None, set()
    before = len(courier.steps)
    ran = run(opened(workspace.root), AGREED, courier)
    assert [step for _, step in courier.steps[before:]] == [Step.FINISH] and not ran.silent


def test_what_would_be_noise_is_refused_after_the_count_alone(workspace: Workspace) -> None:
    few = agreed(**LOGISTIC, privacy={"epsilon": 0.05, "delta": 1e-5})
    courier = partners(few, blobs(300), (100, 100))
    with pytest.raises(Refused) as refused:
        run(workspace, few, courier)
    assert [finding.rule for finding in refused.value.findings] == ["forecast-noise"]
    for place in courier.places.values():
        assert list(place.meter.spent) == ["joint/subjects"] and place.meter.limit > 50 * sum(place.meter.spent.values())


@pytest.mark.slow
def test_with_dropouts_it_goes_on_without_who_is_lost_and_says_so(workspace: Workspace) -> None:
    four = agreed(4, **LOGISTIC, least_partners=3, dropouts=1)
    courier = partners(four, blobs(), (400, 300, 300))
    courier.before = lambda number, _step: courier.gone.add("p3") if number == 3 else None
    ran = run(workspace, four, courier)
    assert [asked.without for asked in ran.result.asked][:4] == [(), (), ("p3",), ("p3",)]
    key = workspace.keys.signer.verifier
    first = joint_passport.read(ran.passport.read_bytes(), key)
    assert list(ran.silent) == ["p3"] and "unrecorded" in ran.page.read_text() and first.silent == ("p3",)
    courier.before = lambda _number, _step: None
    courier.gone.clear()
    ran = run(opened(workspace.root), four, courier)  # it comes back, and has charged for what it answered
    now = joint_passport.read(ran.passport.read_bytes(), key)
    assert not ran.silent and not now.silent and now.partners[:3] == first.partners
    assert "unrecorded" not in ran.page.read_text()  # the page says what the passport says
    named = [entry["facts"]["passport"] for entry in actions(workspace) if entry["action"] == "collaboration.released"]
    assert named == [joint_passport.digest(first), joint_passport.digest(now)]


def test_whoever_looks_while_it_runs_sees_rounds_and_charges_and_disturbs_nothing(workspace: Workspace) -> None:
    courier, looks = there(), list[Status]()
    envelope = enveloped(workspace)
    courier.before = lambda _number, _step: looks.append(status_of(workspace, envelope))
    assert "nobody ran it yet" in status_of(workspace, envelope).text
    ran = run(workspace, AGREED, courier)
    seen = [look.data for look in looks if look.data["state"] == "running"]
    assert len(seen) > 2 * len(ran.result.asked) - 2 and {look.data["state"] for look in looks} == {"running", "learned"}
    spent = [data["epsilon_charged"] for data in seen]
    assert spent == sorted(spent) and spent[0] == 0 and {data["epsilon_at_most"] >= data["epsilon_charged"] for data in seen} == {True}
    middle = next(look for look in looks if len(look.rows) == 4)
    assert [row[2] for row in middle.rows] == ["answered"] * 3 + ["asked"]
    for words in ("is being run now", "rounds: 3 of 4 that were asked are answered", "answered last: p0, p1, p2", "link: down"):
        assert words in middle.text
    asked_for_vectors = next(look for look in looks if look.rows and "≤" in look.rows[-1][3])
    assert "with a round that was asked and has no answer" in asked_for_vectors.text
    assert status_of(workspace, envelope).data["epsilon_charged"] == pytest.approx(AGREED.contract.privacy.epsilon, rel=1e-3)


def test_of_a_run_that_was_killed_or_is_over_or_damaged_it_says_so(workspace: Workspace) -> None:
    courier, envelope = there(), enveloped(workspace)
    courier.before = lambda number, step: courier.gone.add("p2") if (number, step) == (2, Step.VECTOR) else None
    with pytest.raises(CollaborationError):
        run(workspace, AGREED, courier)
    found = status_of(workspace, envelope)
    assert found.data["state"] == "cut short" and "consentric collaboration run joint goes on with it" in found.text
    courier.places["p2"].lose()
    courier.before, courier.gone = lambda _number, _step: None, set()
    with pytest.raises(OverError):
        run(opened(workspace.root), AGREED, courier)
    found = status_of(workspace, envelope)
    assert found.data["state"] == "over" and "sign a new contract" in found.text and "`p2`: order" in found.rows[1][2]
    journal = running.folder(workspace, AGREED) / running.ANSWERS / "answers"
    journal.write_bytes(journal.read_bytes().replace(b"joint/subjects", b"joint/objects!"))
    for look in (lambda: status_of(workspace, envelope), lambda: run(workspace, AGREED, courier)):
        with pytest.raises(IntegrityError, match="is damaged in line"):
            look()


def test_a_look_at_its_folder_does_not_stop_a_run_and_another_run_does(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    place, courier = running.folder(workspace, AGREED), there(gone={"p2"})
    with pytest.raises(CollaborationError, match="not all partners are there"):
        run(workspace, AGREED, courier)
    with open_folder(place) as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        later = threading.Timer(0.3, fcntl.flock, (look, fcntl.LOCK_UN))
        later.start()
        with pytest.raises(CollaborationError, match="not all partners are there"):
            run(workspace, AGREED, courier)
        later.join()
        assert not held(place)
        fcntl.flock(look, fcntl.LOCK_EX)
        assert held(place)
        monkeypatch.setattr(running, "FREE_SECONDS", 0.1)
        with pytest.raises(CollaborationError, match="another process runs this contract already"):
            run(workspace, AGREED, courier)


def enveloped(workspace: Workspace) -> Envelope:
    raw = join(sign(AGREED.contract, signer) for signer in signers(3))
    return Envelope(workspace.root / "joint.json", raw, AGREED.contract, AGREED.digest, AGREED.contract.identities)


def test_what_others_wrote_into_a_contract_begins_no_line_of_what_is_shown(workspace: Workspace) -> None:
    """Whoever draws it up could write another ε into the meaning of a feature, and another digest to write down."""
    lie = "euros\n\nprivacy: all rounds together cost a subject at most ε 0.001\n\u2028digest, to write down and to ask for: sha256:00"
    features = {"spend": {"meaning": lie, "bounds": ["0", "5000"]}, "visits": {"meaning": "visits", "bounds": ["0", "60"]}}
    lying = agreed(features=features).contract
    shown = terms.text(replace(enveloped(workspace), contract=lying, digest=lying.digest()))
    assert [line for line in shown.splitlines() if line.startswith(("privacy:", "digest,"))] == [
        f"privacy: all rounds together cost a subject at most ε {lying.privacy.epsilon:g} at δ 0.00001",
        f"digest, to write down and to ask for: {lying.digest()}",
    ]


@contextmanager
def open_folder(place: Path) -> Iterator[int]:
    handle = os.open(place, os.O_RDONLY)
    yield handle
    os.close(handle)


def test_a_partner_that_says_it_charged_less_is_not_believed(workspace: Workspace) -> None:
    courier = there()

    def forget(_number: int, step: Step) -> None:
        if step is Step.FINISH:
            courier.places["p1"].meter.spent.pop("joint/subjects")

    courier.before = forget
    with pytest.raises(CollaborationError, match="`p1`: charged less than it answered for"):
        run(workspace, AGREED, courier)


@pytest.mark.parametrize(("says", "spent"), [("charged more than the contract has", Fraction(10) ** 100), ("signature", Fraction(-1))])
def test_what_cannot_have_been_charged_keeps_nobody_from_a_passport_later(workspace: Workspace, says: str, spent: Fraction) -> None:
    """It is told at once, while whoever said it can say something else."""
    courier = there()

    def forget(_number: int, step: Step) -> None:
        if step is Step.FINISH and "too much" not in courier.places["p1"].meter.spent:
            courier.places["p1"].meter.spent["too much"] = spent - sum(courier.places["p1"].meter.spent.values())

    courier.before = forget
    with pytest.raises(CollaborationError, match=f"`p1`: {says}"):
        run(workspace, AGREED, courier)
    assert not (running.folder(workspace, AGREED) / "released.json").exists()


def test_no_round_begins_after_the_last_day(workspace: Workspace) -> None:
    late = agreed(**LOGISTIC, expires="2026-01-01")
    with pytest.raises(WorkspaceError, match="expired on 2026-01-01"):
        run(workspace, late, partners(late, blobs(), SIZES))


def test_a_passport_of_another_release_is_found(whole: tuple[Workspace, Partners, Ran]) -> None:
    workspace, _, ran = whole
    document = json.loads(ran.passport.read_bytes())
    statement = json.loads(base64.b64decode(document["payload"]))
    statement["predicate"]["passport"]["rounds"] += 1
    forged = dsse.seal(verify.PAYLOAD_TYPE, verify.canonical(statement), workspace.keys.signer)
    with pytest.raises(IntegrityError, match="no release of this passport"):
        joint_passport.read(forged, workspace.keys.signer.verifier)


def checked(*words: str) -> Said:
    """Offline: there is no workspace here."""
    return command("collaboration", "check", *words, env={"CONSENTRIC_WORKSPACE": "/nowhere"})


def test_its_passport_is_checked_offline_and_beside_the_log(whole: tuple[Workspace, Partners, Ran], tmp_path: Path) -> None:
    workspace, _, ran = whole
    key, file = workspace.keys.verifier_key, str(ran.passport)
    told = checked(file, "--key", key, "--digest", AGREED.digest, "--json")
    assert told.code == 0 and told.data["intact"] and [share["name"] for share in told.data["passport"]["partners"]] == ["p0", "p1", "p2"]
    assert "as you wrote it down" in checked(file, "--key", key, "--digest", AGREED.digest).out
    assert f"collaboration check {ran.passport.relative_to(workspace.root)} --key" in ran.page.read_text()
    inside = {"CONSENTRIC_WORKSPACE": str(workspace.root), UNSAFE_VARIABLE: LEADER}
    held = command("audit", "verify", file, env=inside)
    assert held.code == 0 and "ε of Gaussian draws hold" in held.out
    assert "to hand to every partner; the report has the command that checks it" in ran_text(AGREED, ran)
    forged = tmp_path / "forged.json"
    forged.write_text(ran.passport.read_text().replace('"keyid": "', '"keyid": "x', 1))
    elsewhere = leader(tmp_path / "elsewhere")
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"no transcript")
    for words, code, says in (
        ((str(forged), "--key", key), 6, "is not signed by"),
        ((file, "--key", elsewhere.keys.verifier_key), 6, "is not signed by"),
        ((file, "--key", key, "--digest", "sha256:" + "0" * 64), 6, "another contract"),
        ((file, "--key", key, "--transcript", str(garbage)), 6, "is no transcript"),
        ((file, "--key", "abc"), 2, "`--key`"),
        ((file, "--key", key, "--digest", AGREED.digest[:-1]), 2, "`--digest`"),  # a slip of the pen accuses nobody
        ((str(tmp_path / "none"), "--key", key), 2, "cannot be read"),
        ((str(garbage), "--key", key), 6, "is malformed"),
    ):
        ran_ = checked(*words)
        assert ran_.code == code and says in ran_.err and "Traceback" not in ran_.err, ran_
    assert command("audit", "verify", str(forged), env=inside).code == 6
    other = command("audit", "verify", file, env={"CONSENTRIC_WORKSPACE": str(elsewhere.root), UNSAFE_VARIABLE: LEADER})
    assert other.code == 6 and "not signed by" in other.out
