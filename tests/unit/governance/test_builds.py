import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit import log
from governance import builds
from governance.builds import Build, BuildError, BuildId, PlanId, Status, Verdict
from governance.door import ReservationId
from governance.store import Store, Transaction
from governance.tables import ApprovalRow
from policies.decisions import Allow, Deny
from policies.documents import Digest
from tests.ledgers import ADS, START, Clock, policy, store

POLICY = Digest("sha256:policy")


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
    assert isinstance(do(ana, builds.release, build.id, POLICY, 1), Allow)
    with ana.read() as session:
        released = builds.find_build(session, build.id)
        (approval,) = builds.approvals(session, build.id)
        assert builds.latest_released(session, "crm") == released
    assert released is not None
    assert (released.status, released.released, released.facts) == (Status.RELEASED, clock.now, {"auc": "0.81"})
    assert (approval.principal, approval.verdict, approval.comment) == ("officer", Verdict.APPROVE, "looks right")
    assert actions(ana) == ["plan.made", "build.started", "build.quarantined", "build.approve", "build.released"]


def test_whoever_built_does_not_approve(people: Callable[[str], Store]) -> None:
    ana = people("ana")
    build = quarantined(ana)
    assert rules(do(ana, builds.approve, build.id, POLICY)) == ["builder-may-not-approve"]
    assert rules(do(ana, builds.release, build.id, POLICY, 1)) == ["approvals-missing"]
    assert status(ana, build) is Status.QUARANTINED
    assert actions(ana)[-2:] == ["approve.denied", "release.denied"]


def test_an_approval_by_the_builder_counts_for_nothing_however_it_came_there(people: Callable[[str], Store]) -> None:
    ana = people("ana")
    build = quarantined(ana)
    with ana.transaction() as transaction:
        transaction.session.add(ApprovalRow(build=build.id, principal="ana", verdict="approve", comment="", created=0))
        transaction.record("forged")
    assert rules(do(ana, builds.release, build.id, POLICY, 1)) == ["approvals-missing"]


def test_one_person_counts_once(people: Callable[[str], Store]) -> None:
    build = quarantined(people("ana"))
    officer = people("officer")
    do(officer, builds.approve, build.id, POLICY)
    assert rules(do(officer, builds.approve, build.id, POLICY)) == ["approved-already"]
    assert rules(do(officer, builds.release, build.id, POLICY, 2)) == ["approvals-missing"]
    do(people("second"), builds.approve, build.id, POLICY)
    assert isinstance(do(officer, builds.release, build.id, POLICY, 2), Allow)


def test_no_approval_is_needed_where_the_policy_asks_for_none(people: Callable[[str], Store]) -> None:
    build = quarantined(people("ana"))
    assert isinstance(do(people("ana"), builds.release, build.id, POLICY, 0), Allow)


def test_a_no_is_final(people: Callable[[str], Store]) -> None:
    build = quarantined(people("ana"))
    officer = people("officer")
    do(officer, builds.approve, build.id, POLICY)
    assert isinstance(do(officer, builds.reject, build.id, POLICY, "on second thoughts"), Allow)
    assert status(officer, build) is Status.REJECTED
    for action in (builds.approve, builds.reject):
        assert rules(do(people("second"), action, build.id, POLICY)) == ["build-not-quarantined"]
    assert rules(do(officer, builds.release, build.id, POLICY, 1)) == ["build-not-quarantined"]


def test_a_release_happens_once_and_can_be_recalled(people: Callable[[str], Store]) -> None:
    ana = people("ana")
    build = quarantined(ana)
    assert rules(do(ana, builds.recall, build.id, POLICY, "early")) == ["build-not-released"]
    do(ana, builds.release, build.id, POLICY, 0)
    assert rules(do(ana, builds.release, build.id, POLICY, 0)) == ["build-not-quarantined"]
    assert isinstance(do(ana, builds.recall, build.id, POLICY, "wrong list"), Allow)
    assert rules(do(ana, builds.recall, build.id, POLICY, "again")) == ["build-not-released"]
    with ana.read() as session:
        recalled = builds.find_build(session, build.id)
        assert builds.latest_released(session, "crm") is None
    assert recalled is not None
    assert recalled.facts == {"auc": "0.81", "recalled": "wrong list"}


@pytest.mark.parametrize(
    "action",
    [
        lambda t, b: builds.approve(t, b, POLICY),
        lambda t, b: builds.reject(t, b, POLICY),
        lambda t, b: builds.release(t, b, POLICY, 0),
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
    assert rules(do(ana, builds.release, build.id, POLICY, 0)) == ["build-not-quarantined"]


def test_what_people_write_stays_out_of_the_log(people: Callable[[str], Store]) -> None:
    officer = people("officer")
    first, second = quarantined(people("ana")), quarantined(people("ana"))
    do(officer, builds.approve, first.id, POLICY, "jane@example.com said")
    do(officer, builds.release, first.id, POLICY, 1)
    do(officer, builds.recall, first.id, POLICY, "jane@example.com asked")
    do(officer, builds.reject, second.id, POLICY, "jane@example.com said no")
    with officer.read() as session:
        assert not any(b"jane" in entry.body for entry in log.entries(session.connection()))


def test_lists_are_newest_first(people: Callable[[str], Store], clock: Clock) -> None:
    ana, made = people("ana"), []
    for segment in ("crm", "vip", "crm"):
        made.append(quarantined(ana, segment))
        clock.tick(minutes=1)
    do(ana, builds.release, made[2].id, POLICY, 0)
    clock.tick(minutes=1)
    do(ana, builds.release, made[0].id, POLICY, 0)  # the older build, released later
    with ana.read() as session:
        assert [build.id for build in builds.builds(session)] == [made[2].id, made[1].id, made[0].id]
        assert [build.id for build in builds.builds(session, "crm")] == [made[2].id, made[0].id]
        assert [build.id for build in builds.builds(session, status=Status.QUARANTINED)] == [made[1].id]
        latest = builds.latest_released(session, "crm")
        assert latest is not None
        assert latest.id == made[0].id
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
    results.put(type(do(opened, builds.release, build, POLICY, 0)).__name__)


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
