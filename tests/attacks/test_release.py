"""Getting a list out that should not leave: races, changed roles and documents, files put in the way, lists that are joined."""

from __future__ import annotations

import datetime as dt
import json
import multiprocessing
import multiprocessing.synchronize
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import engine.workspace
from engine import release
from engine.workspace import Workspace
from governance.builds import Status
from tests.scenes import ADS, ANALYST, FAIR, OFFICER, OTHER, POLICY, SUBJECTS, Shop


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    shop = Shop.make(tmp_path_factory.mktemp("waiting") / "shop")
    assert shop.run("build", "returners").code == 0
    return shop


@pytest.fixture
def shop(waiting: Shop, tmp_path: Path) -> Shop:
    """`returners` waits in quarantine."""
    return waiting.copy(tmp_path / "shop")


def approve_at_once(root: Path, by: str, barrier: multiprocessing.synchronize.Barrier) -> None:
    barrier.wait()
    raise SystemExit(Shop(root).run("approve", "returners", by=by).code)


@pytest.mark.slow
def test_two_approvals_at_once_release_once_and_whole(shop: Shop) -> None:
    for attempt in range(3):
        copy = shop.copy(shop.root.with_name(f"again-{attempt}"))
        context = multiprocessing.get_context("fork")
        barrier = context.Barrier(2)
        people = [context.Process(target=approve_at_once, args=(copy.root, by, barrier)) for by in (OFFICER, OTHER)]
        for person in people:
            person.start()
        for person in people:
            person.join(60)
        assert {person.exitcode for person in people} <= {0, 3} and 0 in {person.exitcode for person in people}
        assert copy.whole("returners")


def test_a_second_release_in_the_middle_of_one_leaves_it_whole(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have enough approvals; the one that comes second is denied and must not touch what the first put there."""
    flush, calls = release.flush_folder, list[int]()

    def meddle(*arguments: Any) -> None:
        flush(*arguments)
        calls.append(1)
        if len(calls) == 1:
            assert shop.run("approve", "returners", by=OTHER).code == 0

    monkeypatch.setattr(release, "flush_folder", meddle)
    late = shop.run("approve", "returners", by=OFFICER)
    assert late.code == 3 and "build-not-quarantined" in late.err
    assert len(calls) == 2 and shop.whole("returners")


def test_a_withdrawal_while_the_files_are_written_counts(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = shop.inside(shop.newest("returners").id)
    flush, calls = release.flush_folder, list[int]()

    def meddle(*arguments: Any) -> None:
        flush(*arguments)
        calls.append(1)
        if len(calls) == 1:
            shop.run("consent", "withdraw", inside[0])

    monkeypatch.setattr(release, "flush_folder", meddle)
    assert shop.run("approve", "returners", by=OFFICER).code == 0
    assert len(calls) == 2 and shop.whole("returners")
    assert shop.members("returners") == shop.pseudonyms(inside[1:])


def test_a_policy_that_asks_for_nobody_afterwards_does_not_release_what_was_built_before(shop: Shop) -> None:
    """How many must approve is pinned by the build."""
    shop.write("policies", POLICY | {"approvals": {"required": 0}})
    assert shop.run("approve", "returners", by=ANALYST).code == 3
    assert shop.newest("returners").status is Status.QUARANTINED


def test_a_policy_that_changes_its_purpose_afterwards_lets_nobody_out(shop: Shop) -> None:
    """Lawfulness is judged by the policy of today: without a basis there is nothing to look at."""
    assert shop.run("approve", "returners", by=OFFICER).code == 0
    shop.write("policies", POLICY | {"purposes": POLICY["purposes"] | {ADS: {"basis": {"us": "opt_out"}}}})
    for words in (("members", "returners"), ("export", "returners", "--to", str(shop.root / "x.csv"))):
        refused = shop.run("segments", *words)
        assert refused.code == 3 and "no legal basis" in refused.err and refused.out == ""
    assert not (shop.root / "x.csv").exists()


def test_lists_of_two_purposes_cannot_be_joined(shop: Shop) -> None:
    keys = Workspace.find(shop.root, {"CONSENTRIC_UNSAFE_PRINCIPAL": ANALYST}).keys
    assert keys.create_pseudonym(ADS) != keys.create_pseudonym(FAIR)
    assert not shop.pseudonyms(SUBJECTS) & shop.pseudonyms(SUBJECTS, FAIR)


def test_nothing_that_leaves_names_a_subject(shop: Shop, tmp_path: Path) -> None:
    """Reports, passports, lists, the log and every command's output; keys, sources and what is in quarantine aside."""
    assert shop.run("approve", "returners", "-m", "fine", by=OFFICER).code == 0
    shop.run("consent", "withdraw", SUBJECTS[0])
    hidden = shop.root / ".consentric"
    files = [*(shop.root / "reports").iterdir(), *(hidden / "releases").rglob("*.*"), hidden / "checkpoint"]
    assert len(files) >= 4
    said = [path.read_bytes() for path in files]
    for words in (
        ("segments", "members", "returners"),
        ("segments", "show", "returners"),
        ("audit", "log", "--last", "0"),
        ("plan", "returners"),
        ("fairness", "returners"),
        ("budget",),
        ("doctor",),
    ):
        ran = shop.run(*words, "--json")
        said += [ran.out.encode(), ran.err.encode()]
    for text in said:
        assert b"person-0" not in text and b"street" not in text.replace(b"purchases.street", b"").replace(b"where somebody", b"")


def test_what_is_in_quarantine_is_for_its_owner_alone(shop: Shop) -> None:
    hidden = shop.root / ".consentric"
    assert hidden.stat().st_mode & 0o077 == 0
    for folder in (hidden / "builds").iterdir():
        assert folder.stat().st_mode & 0o077 == 0


def test_a_clock_that_is_put_back_opens_no_release_that_ended(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest entry of the log tells how late it is, whatever the clock says."""
    assert shop.run("approve", "returners", by=OFFICER).code == 0
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=366)
    monkeypatch.setattr(engine.workspace, "now", lambda: later)
    shop.withdraw(SUBJECTS[:1])
    monkeypatch.undo()
    for words in (("members", "returners"), ("export", "returners", "--to", str(shop.root / "x.csv")), ("score", "returners")):
        refused = shop.run("segments", *words)
        assert refused.code == 3 and "release-expired" in refused.err and refused.out == "", words
    assert not (shop.root / "x.csv").exists()


def test_a_link_in_the_place_of_an_export_is_not_followed(shop: Shop, tmp_path: Path) -> None:
    assert shop.run("approve", "returners", by=OFFICER).code == 0
    victim = tmp_path / "victim"
    victim.write_text("keep")
    (tmp_path / ".list.csv.partial").symlink_to(victim)
    assert shop.run("segments", "export", "returners", "--to", str(tmp_path / "list.csv")).code == 1
    assert victim.read_text() == "keep" and not (tmp_path / "list.csv").exists()


def test_an_export_replaces_nothing_of_the_workspace_and_no_file_that_is_not_one(shop: Shop, tmp_path: Path) -> None:
    """Evidence, sources and documents stay what they are, and whatever else is about."""
    assert shop.run("approve", "returners", by=OFFICER).code == 0
    build, other = shop.newest("returners").id, tmp_path / "other.csv"
    other.write_text("keep")
    (tmp_path / "link").symlink_to(shop.root / "data")
    inside = (f".consentric/builds/{build}/considered.parquet", "data/purchases.parquet", "new.csv", "../link/purchases.parquet")
    before = {place: (shop.root / place).read_bytes() for place in inside if (shop.root / place).exists()}
    for place in (*inside, "../other.csv"):
        for words in (("export", "returners"), ("score", "returners")):
            refused = shop.run("segments", *words, "--to", str(shop.root / place))
            assert refused.code == 2 and "expected" in refused.err, (place, words)
    assert before == {place: (shop.root / place).read_bytes() for place in before} and len(before) == 3
    assert other.read_text() == "keep" and not (shop.root / "new.csv").exists()
    assert [shop.run("segments", "export", "returners", "--to", str(tmp_path / "mine.csv")).code for _ in range(2)] == [0, 0]


def test_a_damaged_file_holds_up_no_recall_and_no_sweep_of_others(shop: Shop) -> None:
    """An erasure that cannot be finished stops what reads people, and not what takes the damage away."""
    assert shop.run("approve", "returners", by=OFFICER).code == 0
    (shop.root / "data" / "consents.csv").unlink()
    build, someone = shop.newest("returners").id, SUBJECTS[0]
    pq.write_table(pa.table({"pseudonym": ["x"]}), shop.root / ".consentric" / "builds" / build / "considered.parquet")
    erased = shop.run("rights", "erase", someone, "--yes", by=OFFICER)
    assert erased.code == 2 and "considered.parquet` is damaged" in erased.err
    assert shop.run("segments", "members", "returners").code == 2
    swept = shop.run("sweep", "--json", by=OFFICER)
    assert swept.code == 0 and "is damaged" in swept.data["problems"][0] and "is not finished" in swept.err
    assert shop.run("segments", "recall", "returners", by=OFFICER).code == 0
    assert shop.run("segments", "list").code == 0  # which finished the erasure
    assert [entry["action"] for entry in shop.log()].count("erasure.finished") == 1


def test_a_yes_to_another_policy_or_of_somebody_who_is_no_officer_any_more_releases_nothing(shop: Shop) -> None:
    shop.write("policies", POLICY | {"approvals": {"required": 2}})
    assert shop.run("approve", "returners", by=OFFICER).code == 0
    shop.write("policies", POLICY | {"approvals": {"required": 2}, "retention": {"releases": "3650d"}})
    assert shop.run("approve", "returners", by=OTHER).code == 0
    assert shop.newest("returners").status is Status.QUARANTINED
    shop.appoint(officers=[OFFICER])
    assert shop.run("approve", "returners", by=OFFICER).code == 0
    assert shop.newest("returners").status is Status.QUARANTINED
    shop.appoint(officers=[OFFICER, OTHER])
    assert shop.run("approve", "returners", by=OFFICER).code == 0
    assert shop.newest("returners").status is Status.RELEASED


def test_a_member_smuggled_into_the_kept_membership_does_not_get_out_without_consent(shop: Shop) -> None:
    """Whoever can write there still meets admission."""
    build = shop.newest("returners")
    file = shop.root / ".consentric" / "builds" / build.id / "membership.parquet"
    table = pq.read_table(file)
    refusing, unknown = SUBJECTS[4], "nobody-ever-heard-of"
    extra = pa.table({"subject": [refusing, unknown], "segment": ["likely", "likely"]}, schema=table.schema)
    pq.write_table(pa.concat_tables([table, extra]), file)
    assert shop.run("approve", "returners", by=OFFICER).code == 0
    assert not shop.members("returners") & shop.pseudonyms([refusing, unknown])


def test_a_forged_passport_does_not_verify(shop: Shop) -> None:
    assert shop.run("approve", "returners", by=OFFICER).code == 0
    file = shop.root / ".consentric" / "releases" / shop.newest("returners").id / "passport.json"
    assert shop.run("audit", "verify", str(file)).code == 0
    envelope = json.loads(file.read_text())
    payload = envelope["payload"]
    envelope["payload"] = payload[:40] + ("A" if payload[40] != "A" else "B") + payload[41:]
    file.write_text(json.dumps(envelope))
    assert shop.run("audit", "verify", str(file)).code == 6
