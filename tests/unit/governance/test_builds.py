import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit import log
from governance import builds
from governance.builds import Approval, Build, BuildError, BuildId, PlanId, Status, Verdict
from governance.door import ReservationId
from governance.store import Store, Transaction
from governance.tables import ApprovalRow
from policies.decisions import Allow, Deny
from policies.documents import Digest
from policies.policy import Retention
from tests.ledgers import ADS, START, Clock, policy, store

pytestmark = pytest.mark.usefixtures("database")

POLICY = Digest("sha256:policy")


def anybody(_said: Approval) -> bool:
    """Whoever said yes may still."""
    return True


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def people(tmp_path: Path, clock: Clock) -> Callable[[str], Store]:
    """The same database, as whoever is named."""
    store(tmp_path, clock)
    return lambda name: store(tmp_path, clock, name, create=False)


def building(opened: Store, segment: str = "crm") -> Build:
    with opened.transaction() as transaction:
        plan = builds.pin(transaction, segment, Digest("sha256:spec"), Digest("sha256:contract"), POLICY, "shop/1")
        return builds.start(transaction, plan, ADS, ReservationId("r1"))


def quarantined(opened: Store, segment: str = "crm") -> Build:
    build = building(opened, segment)
    with opened.transaction() as transaction:
        return builds.quarantine(transaction, build.id, {"auc": "0.81"}, draws=3)


def do(opened: Store, action: Callable[..., Any], *rest: Any) -> Any:
    with opened.transaction() as transaction:
        return action(transaction, *rest)


def rules(answer: Allow | Deny) -> list[str]:
    assert isinstance(answer, Deny)
    assert all(finding.policy == POLICY and finding.reason and finding.condition for finding in answer.because)
    return [finding.rule for finding in answer.because]


def status(opened: Store, build: Build) -> Status:
    with opened.read() as session:
        found = builds.find_build(session, build.id)
    assert found is not None
    return found.status


def actions(opened: Store) -> list[str]:
    with opened.read() as session:
        return [entry.parsed["action"] for entry in log.entries(session.connection())]


def test_the_way_to_a_release(people: Callable[[str], Store], clock: Clock) -> None:
    ana, officer = people("ana"), people("officer")
    build = quarantined(ana)
    assert (build.status, build.builder, build.created, build.facts) == (Status.QUARANTINED, "ana", START, {"auc": "0.81"})
    clock.tick(hours=1)
    assert isinstance(do(officer, builds.approve, build.id, POLICY, "looks right"), Allow)
    assert isinstance(do(ana, builds.release, build.id, POLICY, 1, anybody), Allow)
    with ana.read() as session:
        released = builds.find_build(session, build.id)
        (approval,) = builds.approvals(session, build.id)
    assert released is not None
    assert (released.status, released.released, released.facts) == (Status.RELEASED, clock.now, {"auc": "0.81"})
    assert (approval.principal, approval.verdict, approval.comment) == ("officer", Verdict.APPROVE, "looks right")
    assert actions(ana) == ["plan.made", "build.started", "build.quarantined", "build.approve", "build.released"]


def test_whoever_built_does_not_approve(people: Callable[[str], Store]) -> None:
    ana = people("ana")
    build = quarantined(ana)
    assert rules(do(ana, builds.approve, build.id, POLICY)) == ["builder-may-not-approve"]
    assert rules(do(ana, builds.release, build.id, POLICY, 1, anybody)) == ["approvals-missing"]
    assert status(ana, build) is Status.QUARANTINED
    assert actions(ana)[-2:] == ["approve.denied", "release.denied"]


def test_an_approval_by_the_builder_counts_for_nothing_however_it_came_there(people: Callable[[str], Store]) -> None:
    ana = people("ana")
    build = quarantined(ana)
    with ana.transaction() as transaction:
        transaction.session.add(ApprovalRow(build=build.id, principal="ana", verdict="approve", comment="", created=0, policy=POLICY))
        transaction.record("forged")
    assert rules(do(ana, builds.release, build.id, POLICY, 1, anybody)) == ["approvals-missing"]


def test_one_person_counts_once(people: Callable[[str], Store]) -> None:
    build = quarantined(people("ana"))
    officer = people("officer")
    do(officer, builds.approve, build.id, POLICY)
    assert rules(do(officer, builds.approve, build.id, POLICY)) == ["approved-already"]
    assert rules(do(officer, builds.release, build.id, POLICY, 2, anybody)) == ["approvals-missing"]
    do(people("second"), builds.approve, build.id, POLICY)
    assert isinstance(do(officer, builds.release, build.id, POLICY, 2, anybody), Allow)


def test_a_yes_counts_under_its_policy_and_while_whoever_said_it_may(people: Callable[[str], Store]) -> None:
    build, other = quarantined(people("ana")), Digest("sha256:other")
    officer = people("officer")
    do(officer, builds.approve, build.id, POLICY)
    missing = do(officer, builds.release, build.id, other, 1, anybody)
    assert isinstance(missing, Deny) and missing.because[0].rule == "approvals-missing"
    assert rules(do(officer, builds.release, build.id, POLICY, 1, lambda said: said.principal != "officer")) == ["approvals-missing"]
    assert isinstance(do(officer, builds.approve, build.id, other), Allow)  # asked again, they may say it again
    assert isinstance(do(officer, builds.release, build.id, other, 1, anybody), Allow)
    with officer.read() as session:
        facts = [e.parsed["facts"] for e in log.entries(session.connection()) if e.parsed["action"] == "build.approve"]
        assert [each["policy"] for each in facts] == [each.policy for each in builds.approvals(session, build.id)] == [POLICY, other]


@pytest.fixture
def scored(people: Callable[[str], Store]) -> tuple[Build, Build, Build]:
    """A released model, a list that was scored with it and released, and one that waits."""
    ana = people("ana")
    model = quarantined(ana)
    do(ana, builds.release, model.id, POLICY, 0, anybody, Retention())
    with ana.transaction() as transaction:
        plan = builds.find_plan(transaction.session, model.plan)
        assert plan is not None
        one, other = (builds.start(transaction, plan, ADS, ReservationId(""), model.id) for _ in range(2))
        for each in (one, other):
            builds.quarantine(transaction, each.id, {})
    do(ana, builds.release, one.id, POLICY, 0, anybody)
    return model, one, other


def test_what_was_scored_ends_when_its_model_is_recalled(people: Callable[[str], Store], scored: tuple[Build, Build, Build]) -> None:
    ana, (model, *others) = people("ana"), scored
    do(ana, builds.recall, model.id, POLICY, "")
    assert [status(ana, each) for each in others] == [Status.EXPIRED] * 2
    assert actions(ana)[-3:] == ["build.recalled", "build.expired", "build.expired"]


def test_what_was_scored_ends_with_the_time_of_its_model(
    people: Callable[[str], Store], clock: Clock, scored: tuple[Build, Build, Build]
) -> None:
    ana, (_model, released, waiting) = people("ana"), scored
    assert not do(ana, lambda write: write.record("looked") and builds.expire(write, released.id))
    clock.tick(days=366)
    assert rules(do(ana, builds.release, waiting.id, POLICY, 0, anybody)) == ["model-ended"]
    assert do(ana, builds.expire, released.id) and status(ana, released) is Status.EXPIRED


def test_no_approval_is_needed_where_the_policy_asks_for_none(people: Callable[[str], Store]) -> None:
    build = quarantined(people("ana"))
    assert isinstance(do(people("ana"), builds.release, build.id, POLICY, 0, anybody), Allow)


def test_a_no_is_final(people: Callable[[str], Store]) -> None:
    build = quarantined(people("ana"))
    officer = people("officer")
    do(officer, builds.approve, build.id, POLICY)
    assert isinstance(do(officer, builds.reject, build.id, POLICY, "on second thoughts"), Allow)
    assert status(officer, build) is Status.REJECTED
    for action in (builds.approve, builds.reject):
        assert rules(do(people("second"), action, build.id, POLICY)) == ["build-not-quarantined"]
    assert rules(do(officer, builds.release, build.id, POLICY, 1, anybody)) == ["build-not-quarantined"]


def test_a_release_happens_once_and_can_be_recalled(people: Callable[[str], Store]) -> None:
    ana = people("ana")
    build = quarantined(ana)
    assert rules(do(ana, builds.recall, build.id, POLICY, "early")) == ["build-not-released"]
    do(ana, builds.release, build.id, POLICY, 0, anybody)
    assert rules(do(ana, builds.release, build.id, POLICY, 0, anybody)) == ["build-not-quarantined"]
    assert isinstance(do(ana, builds.recall, build.id, POLICY, "wrong list"), Allow)
    assert rules(do(ana, builds.recall, build.id, POLICY, "again")) == ["build-not-released"]
    with ana.read() as session:
        recalled = builds.find_build(session, build.id)
    assert recalled is not None
    assert recalled.facts == {"auc": "0.81", "recalled": "wrong list"}


@pytest.mark.parametrize(
    "action",
    [
        lambda t, b: builds.approve(t, b, POLICY),
        lambda t, b: builds.reject(t, b, POLICY),
        lambda t, b: builds.release(t, b, POLICY, 0, anybody),
        lambda t, b: builds.recall(t, b, POLICY, "x"),
    ],
)
def test_an_unknown_build_is_denied(people: Callable[[str], Store], action: Callable[[Transaction, BuildId], Allow | Deny]) -> None:
    assert rules(do(people("ana"), action, BuildId("nothing"))) == ["build-unknown"]


STEPS: dict[str, Callable[[Transaction, BuildId], Build]] = {
    "quarantine": lambda t, b: builds.quarantine(t, b, {}),
    "refuse": lambda t, b: builds.refuse(t, b, ("cohort-floor",)),
    "fail": lambda t, b: builds.fail(t, b, "disk-full"),
}


@pytest.mark.parametrize("first", STEPS)
@pytest.mark.parametrize("second", STEPS)
def test_the_pipeline_leaves_building_once(people: Callable[[str], Store], first: str, second: str) -> None:
    ana = people("ana")
    build = building(ana)
    after = do(ana, STEPS[first], build.id)
    with pytest.raises(BuildError, match="expected `building`"):
        do(ana, STEPS[second], build.id)
    assert status(ana, build) is after.status is not Status.BUILDING


def test_why_a_build_ended_is_kept(people: Callable[[str], Store]) -> None:
    ana = people("ana")
    assert do(ana, builds.refuse, building(ana).id, ("cohort-floor",)).facts == {"rules": ["cohort-floor"]}
    assert do(ana, builds.fail, building(ana).id, "disk-full").facts == {"code": "disk-full"}


@pytest.mark.parametrize("end", ["refuse", "fail"])
def test_what_was_not_built_is_never_released(people: Callable[[str], Store], end: str) -> None:
    ana = people("ana")
    build = building(ana)
    assert rules(do(people("officer"), builds.approve, build.id, POLICY)) == ["build-not-quarantined"]
    do(ana, STEPS[end], build.id)
    assert rules(do(ana, builds.release, build.id, POLICY, 0, anybody)) == ["build-not-quarantined"]


def test_what_people_write_stays_out_of_the_log(people: Callable[[str], Store]) -> None:
    officer = people("officer")
    first, second = quarantined(people("ana")), quarantined(people("ana"))
    do(officer, builds.approve, first.id, POLICY, "jane@example.com said")
    do(officer, builds.release, first.id, POLICY, 1, anybody)
    do(officer, builds.recall, first.id, POLICY, "jane@example.com asked")
    do(officer, builds.reject, second.id, POLICY, "jane@example.com said no")
    with officer.read() as session:
        assert not any(b"jane" in entry.body for entry in log.entries(session.connection()))


def test_lists_are_newest_first(people: Callable[[str], Store], clock: Clock) -> None:
    ana, made = people("ana"), []
    for segment in ("crm", "vip", "crm"):
        made.append(quarantined(ana, segment))
        clock.tick(minutes=1)
    for released in (made[2], made[0]):
        do(ana, builds.release, released.id, POLICY, 0, anybody)
        clock.tick(minutes=1)
    with ana.read() as session:
        assert [build.id for build in builds.builds(session)] == [made[2].id, made[1].id, made[0].id]
        assert [build.id for build in builds.builds(session, "crm")] == [made[2].id, made[0].id]
        assert [build.id for build in builds.builds(session, status=Status.QUARANTINED)] == [made[1].id]
        plan = builds.latest_plan(session, "crm")
        assert plan is not None
        assert (plan.id, plan.policy, plan.principal) == (made[2].plan, POLICY, "ana")
        assert builds.find_plan(session, made[2].plan) == plan
        assert builds.find_plan(session, PlanId("nothing")) is builds.find_build(session, BuildId("nothing")) is None


@pytest.mark.parametrize(
    ("models", "required", "at_least", "expected"),
    [(("clusters",), 2, 0, 2), (("propensity",), 2, 0, 0), (("propensity",), 2, 1, 1), ((), 0, 1, 1)],
)
def test_how_many_must_approve(models: tuple[str, ...], required: int, at_least: int, expected: int) -> None:
    rules = policy(approvals={"required": required, "models": models})
    assert builds.required_approvals(rules, "clusters", at_least) == expected


def _release(folder: Path, build: BuildId, barrier: Any, results: Any) -> None:
    opened = store(folder, create=False)
    barrier.wait()
    results.put(type(do(opened, builds.release, build, POLICY, 0, anybody)).__name__)


def test_two_at_once_release_once(tmp_path: Path) -> None:
    build = quarantined(store(tmp_path))
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(4), context.Queue()
    workers = [context.Process(target=_release, args=(tmp_path, build.id, barrier, results)) for _ in range(4)]
    for worker in workers:
        worker.start()
    answers = sorted(results.get(timeout=60) for _ in workers)
    for worker in workers:
        worker.join()
    assert answers == ["Allow", "Deny", "Deny", "Deny"]
