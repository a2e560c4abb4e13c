"""What a subject may ask for: an answer with everything in it, erasure down to the last byte, and that no backup undoes either."""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sqlmodel import select

from engine import copies
from engine import rights as subject_rights
from engine.workspace import Workspace, WorkspaceError
from governance import erasures, traces
from governance.consent_batches import batch_root
from governance.principals import UNSAFE_VARIABLE
from governance.suppression import FOLDER_VARIABLE, NEWEST
from governance.tables import ConsentRow
from tests.fakes import ZeroNoise
from tests.postgres import Server
from tests.scenes import ADS, ANALYST, OFFICER, REFUSING, SUBJECTS, Shop, write_consents

WILLING = [subject for subject in SUBJECTS if subject not in REFUSING]


@pytest.fixture
def kept(out: Shop) -> Shop:
    """Released; the file that consents were imported from has gone where it came from."""
    (out.root / "data" / "consents.csv").unlink()
    return out


def erase(shop: Shop, subject: str, *more: str):  # type: ignore[no-untyped-def]
    return shop.run("rights", "erase", subject, "--yes", "--json", *more, by=OFFICER)


def left(shop: Shop, subject: str) -> list[traces.Trace]:
    gc.collect()
    return list(subject_rights.left_of(shop.workspace(OFFICER), subject))


def test_after_erasure_no_byte_of_the_workspace_and_no_row_holds_the_subject(kept: Shop) -> None:
    someone, other = kept.inside(kept.newest("returners").id)[:2]
    assert kept.run("segments", "export", "returners", "--to", str(kept.root.parent / "list.csv"), by=OFFICER).code == 0
    assert kept.run("consent", "withdraw", someone, ADS).code == 0
    before = {trace.place for trace in left(kept, someone)}
    assert {"table consent_events, column subject", ".consentric/metadata.db"} <= before
    assert any("membership.parquet" in place or "considered.parquet" in place for place in before)
    assert kept.pseudonyms([someone]).isdisjoint(kept.members("returners"))
    done = erase(kept, someone)
    assert done.code == 0, done
    assert done.data["left"] == [] and done.data["sources"] == [
        "shop.purchases (data/purchases.parquet)",
        "shop.people (data/people.parquet)",
    ]
    assert left(kept, someone) == []
    assert left(kept, other) != []  # the look finds whoever is there
    assert kept.verify() == 0
    assert kept.whole("returners") and kept.whole("groups")
    assert kept.workspace(OFFICER).suppression.marks(someone)
    entries = [entry for entry in kept.log() if entry["action"].startswith("erasure.")]
    assert [entry["action"] for entry in entries] == [f"erasure.{step}" for step in ("intended", "consent", "rewritten", "finished")]
    assert someone not in str(entries)


def test_a_batch_with_tombstones_has_the_root_that_the_log_holds(kept: Shop) -> None:
    assert erase(kept, WILLING[0]).code == 0
    (entry,) = [e for e in kept.log() if e["action"].startswith("consent.") and e["facts"].get("events", 0) > 1000]
    with kept.workspace().store.read() as session:
        assert batch_root(session, entry["facts"]["batch"]).hex() == entry["facts"]["root"]
        tombs = session.exec(select(ConsentRow).where(ConsentRow.subject == "")).all()
    assert len(tombs) == 2
    for row in tombs:
        assert (
            row.salt == b"" and row.status == "erased" and row.purpose == "" and row.notice_version is None and len(row.leaf or b"") == 32
        )


@pytest.mark.slow
def test_on_postgresql_no_row_holds_the_subject(tmp_path: Path, postgres: Server) -> None:
    shop = Shop.make(tmp_path / "shop", postgres.create())
    (shop.root / "data" / "consents.csv").unlink()
    assert {trace.place for trace in left(shop, WILLING[0])} == {"table consent_events, column subject"}
    done = erase(shop, WILLING[0])
    assert done.code == 0 and done.data["left"] == [] and done.data["events"] == 2, done
    assert left(shop, WILLING[0]) == [] and left(shop, WILLING[1]) and shop.verify() == 0


def test_whoever_was_erased_is_out_and_everybody_else_is_in(kept: Shop) -> None:
    someone = kept.inside(kept.newest("groups").id)[0]
    before, gone = kept.members("groups"), kept.pseudonyms([someone])
    assert erase(kept, someone).code == 0
    assert kept.members("groups") == before - gone and gone < before
    assert kept.run("build", "groups").code == 0  # the source still has them, and no build writes their key down again
    assert someone not in kept.inside(kept.newest("groups").id) and left(kept, someone) == []


def answer(shop: Shop, subject: str, *more: str):  # type: ignore[no-untyped-def]
    return shop.run("rights", "access", subject, "--json", *more, by=OFFICER)


def test_the_answer_holds_everything_of_one_subject_and_nothing_of_another(kept: Shop, tmp_path: Path) -> None:
    someone = kept.inside(kept.newest("returners").id)[0]
    assert kept.run("segments", "export", "returners", "--to", str(tmp_path / "list.csv"), by=OFFICER).code == 0
    told = answer(kept, someone, "--html", str(page := tmp_path / "answer.html"))
    assert told.code == 0, told
    data = told.data
    assert data["keys"] == [someone] and data["controllers"] == ["Shop Ltd"]
    assert {(said["purpose"], said["status"]) for said in data["consent"]} == {(ADS, "given"), ("analytics.reporting", "requested")}
    rows = pq.read_table(kept.root / "data" / "purchases.parquet", filters=[("customer", "=", someone)])
    tables = {table["name"]: table for table in data["tables"]}
    assert [column["name"] for column in tables["purchases"]["columns"]] == rows.column_names
    assert sorted(map(tuple, tables["purchases"]["rows"])) == sorted(tuple(map(str, row.values())) for row in rows.to_pylist())
    assert len(tables["people"]["rows"]) == 1 and rows.num_rows > 0
    builds = {one["segment"]: one for one in data["processing"]}
    assert set(builds) == {"groups", "returners"}
    for one in builds.values():
        assert one["outcome"] == "used" and one["epsilon"] == 2.0 and one["logic"] and one["features"] and one["opening"]["size"] == 5000
    assert builds["groups"]["trained"] and builds["returners"]["recipients"][0]["destination"] == "mail"
    assert dict(map(tuple, builds["returners"]["membership"]))["segment"]
    ads = next(use for use in data["uses"] if use["purpose"] == ADS)
    assert ads["used"] and ads["basis"] == "your consent (GDPR art. 6(1)(a))" and ads["recipients"] == ["mail"]
    assert {right["legal"] for right in data["rights"]} >= {"GDPR art. 15", "GDPR art. 17", "GDPR art. 21", "GDPR art. 77"}
    html = page.read_text()
    assert page.stat().st_mode & 0o077 == 0
    for text in (someone, "article 15", "basket-", "street ", "What you said", "returners", "art. 22"):
        assert text in html
    assert "<script" not in html and "http://" not in html and "https://" not in html
    others = set(SUBJECTS) - {someone}
    assert not any(other in html or other in told.out for other in others)


def test_an_answer_is_the_officers_and_in_the_log_without_the_subject(kept: Shop) -> None:
    refused = kept.run("rights", "access", WILLING[0], by=ANALYST)
    assert refused.code == 3 and WILLING[0] not in refused.err + refused.out
    assert answer(kept, WILLING[0]).code == 0
    log = kept.log()
    assert [entry["action"] for entry in log[-3:]].count("subject.answered") == 1
    assert WILLING[0] not in str(log)


def test_the_answer_to_somebody_nobody_knows_says_so(kept: Shop) -> None:
    data = answer(kept, "nobody").data
    assert data["consent"] == [] == data["processing"] and not any(table["rows"] for table in data["tables"])
    assert not any(use["used"] for use in data["uses"] if use["purpose"] == ADS)


def test_the_answer_after_an_erasure_says_only_that_there_was_one(kept: Shop) -> None:
    someone = WILLING[0]
    assert erase(kept, someone).code == 0
    data = answer(kept, someone).data
    assert data["consent"] == [] == data["processing"]
    assert len(data["kept_outside"]) == 1 and data["kept_outside"][0].startswith("that you were erased, since ")


def backup(shop: Shop, to: Path) -> Path:
    gc.collect()
    shutil.copytree(shop.root, to)
    return to


def restore(shop: Shop, kept: Path) -> None:
    """The folder of the workspace goes back to what it was; what is kept outside does not."""
    gc.collect()
    shutil.rmtree(shop.root)
    shutil.copytree(kept, shop.root)


READS = (
    ("segments", "members", "groups"),
    ("plan", "groups"),
    ("build", "groups"),
    ("budget",),
    ("segments", "export", "groups", "--to", "x.csv"),
)


@pytest.mark.slow
def test_an_old_backup_is_refused_until_what_was_spent_and_erased_since_is_again(kept: Shop, tmp_path: Path) -> None:
    erased, objecting = kept.inside(kept.newest("groups").id)[:2]
    old, spent_then = backup(kept, tmp_path / "old"), kept.spent()
    kept.build("groups", ZeroNoise())
    assert kept.run("rights", "object", objecting, "--purpose", ADS, by=OFFICER).code == 0
    assert erase(kept, erased).code == 0
    spent, ledger = kept.spent(), kept.ledger()
    assert spent > spent_then
    restore(kept, old)
    for words in READS:
        refused = kept.run(*words, by=OFFICER)
        assert refused.code == 6 and "behind what was promised last" in refused.err and "consentric rights replay" in refused.err, words
    assert kept.run("audit", "log", by=OFFICER).code == 0 and kept.verify() == 0
    done = kept.run("rights", "replay", "--json")
    assert done.code == 0, done
    # (1) what was spent counts again; (2) who objected and who was erased are out again, down to the last byte
    assert done.data["carried"] == 1 and done.data["erased"] == 1 and done.data["objections"] == 1 and done.data["left"] == []
    assert kept.spent() >= spent
    assert len(kept.ledger().reservations) == len(ledger.reservations)  # one row carries what the lost ones spent
    assert left(kept, erased) == []
    assert kept.pseudonyms([erased, objecting]).isdisjoint(kept.members("groups"))
    # (3) the ledger is open, and nothing is carried twice
    assert kept.run("plan", "groups").code == 0
    again, twice = kept.spent(), kept.run("rights", "replay", "--json")
    assert twice.data == {"carried": 0, "objections": 0, "erased": 0, "left": []} and kept.spent() == again
    assert kept.verify() == 0
    assert [e["facts"]["carried"] for e in kept.log() if e["action"] == "restore.finished"] == [1, 0]


@pytest.mark.slow
def test_a_replay_that_a_crash_cuts_short_leaves_the_database_behind(kept: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The restored log has meanwhile grown beyond what was promised: nothing that the replay writes may pass for a newer promise."""
    erased = kept.inside(kept.newest("groups").id)[:2]
    old = backup(kept, tmp_path / "old")
    for someone in erased:
        assert erase(kept, someone).code == 0
    restore(kept, old)
    for _ in range(20):
        kept.run("audit", "log", by=OFFICER)

    def crash(*_arguments: object) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(copies, "drop", crash)
        assert kept.run("rights", "replay").code == 1
    assert {kept.run("segments", *words).code for words in (("members", "groups"), ("list",))} == {6}
    assert kept.run("doctor").code == 6
    assert kept.run("rights", "replay", "--json").data["erased"] == 2
    assert kept.pseudonyms(erased).isdisjoint(kept.members("groups")) and not [*left(kept, erased[0]), *left(kept, erased[1])]


@pytest.mark.slow
def test_files_of_builds_that_the_restored_database_does_not_know_go(kept: Shop, tmp_path: Path) -> None:
    """Only the database was put back."""
    erased = kept.inside(kept.newest("groups").id)[0]
    old = backup(kept, tmp_path / "old")
    assert kept.run("segments", "score", "groups").code == 0
    lost = kept.newest("groups").id
    assert kept.run("approve", lost, by=OFFICER).code == 0
    assert kept.run("segments", "export", lost, "--to", str(tmp_path / "list.csv")).code == 0
    assert erase(kept, erased).code == 0
    gc.collect()
    for file in (kept.root / ".consentric").glob("metadata.db*"):
        file.unlink()
    shutil.copytree(old, kept.root, dirs_exist_ok=True)
    done = kept.run("rights", "replay", "--json")
    assert done.code == 0 and done.data["erased"] == 1 and done.data["left"] == [], done
    assert not list((kept.root / ".consentric").rglob(f"{lost}*")) and left(kept, erased) == []
    assert kept.whole("groups")


def test_the_environment_takes_no_other_folder_outside_and_an_own_one_is_refused(kept: Shop, tmp_path: Path) -> None:
    own = Shop.make(tmp_path / "own").outside
    assert kept.run("segments", "list", env={FOLDER_VARIABLE: str(tmp_path / "nowhere")}).code == 0
    (own / NEWEST).write_bytes((kept.outside / NEWEST).read_bytes())
    for place in kept.outside, own:
        place.rename(place.with_name(f"{place.name}.was"))
    own.with_name(f"{own.name}.was").rename(kept.outside)
    for words in (("segments", "members", "groups"), ("rights", "replay"), ("doctor",)):
        refused = kept.run(*words)
        assert refused.code == 1 and "has another key than the one that this workspace knows" in refused.out + refused.err, words
    assert kept.run("rights", "replay", "--anew", by=OFFICER).code == 0  # whose word for it is in the log
    assert kept.run("segments", "members", "groups").code == 0
    (kept.outside / NEWEST).write_bytes(b"")
    assert kept.run("segments", "members", "groups").code == 6
    assert kept.run("rights", "replay").code == 1 and kept.run("rights", "replay", "--anew", by=OFFICER).code == 0
    assert kept.run("segments", "members", "groups").code == 0


def test_a_backup_from_between_a_reservation_and_its_draws_gives_nothing_back(kept: Shop, tmp_path: Path) -> None:
    """At that moment nothing was spent yet; what is kept outside was written again before the first draw."""
    from governance import budget
    from governance.door import Query, StepName

    workspace = kept.workspace()
    with workspace.store.transaction("reserve") as write:
        contract, policy = workspace.contract("shop"), workspace.policy("rules")
        reserved = budget.reserve(write, budget.accounts(contract, policy, ADS, write.now), policy, 0.5, 1e-5, "test")
    old = backup(kept, tmp_path / "old")
    budget.LedgerMeter(workspace.store, reserved.id).charge(reserved.grant(), Query(StepName("any"), {}, (1, 1, 1), 1.0))
    spent = kept.spent()
    del workspace, write
    restore(kept, old)
    assert kept.run("plan", "groups").code == 6
    assert kept.run("rights", "replay").code == 0
    assert kept.spent() == spent


def test_without_the_folder_outside_nothing_goes_on_until_an_officer_begins_anew(kept: Shop) -> None:
    spent = kept.spent()
    shutil.rmtree(kept.outside)
    for words in (("plan", "groups"), ("segments", "members", "groups")):
        refused = kept.run(*words, by=ANALYST)
        assert refused.code == 1 and "is missing; bring it from the old machine, or let an officer begin a new one" in refused.err
    assert kept.run("rights", "replay").code == 1
    assert kept.run("rights", "replay", "--anew", by=ANALYST).code == 3
    assert kept.run("rights", "replay", "--anew", by=OFFICER).code == 0
    assert kept.log()[-1]["action"] == "outside.begun_anew"
    assert kept.run("plan", "groups").code == 0 and kept.spent() == spent
    assert kept.run("rights", "replay", "--anew", by=OFFICER).code == 1  # one that is there is not exchanged


def test_whoever_objects_is_out_at_once_and_stays_out_when_an_old_consent_comes_again(kept: Shop, tmp_path: Path) -> None:
    someone = kept.inside(kept.newest("groups").id)[0]
    gone = kept.pseudonyms([someone])
    assert gone < kept.members("groups")
    assert kept.run("rights", "object", someone, "--purpose", ADS, by=OFFICER).code == 0
    assert gone.isdisjoint(kept.members("groups"))
    assert someone not in kept.inside(kept.newest("groups").id)  # files follow at once
    assert kept.run("consent", "show", someone, "--json", by=OFFICER).data["events"][-1]["status"] == "objected"
    write_consents(tmp_path / "again.csv", [someone])
    kept.run("consent", "import", str(tmp_path / "again.csv"), "--again", by=OFFICER)
    assert gone.isdisjoint(kept.members("groups"))
    assert kept.run("rights", "object", someone, "--purpose", "nonsense", by=OFFICER).code == 2


def test_what_was_said_before_an_erasure_is_not_taken_again_and_what_is_said_after_it_is(kept: Shop, tmp_path: Path) -> None:
    someone = WILLING[0]
    assert erase(kept, someone).code == 0
    write_consents(tmp_path / "again.csv", [someone, WILLING[1]])
    assert kept.run("consent", "import", str(tmp_path / "again.csv"), "--again", by=OFFICER).code == 0
    assert left(kept, someone) == []
    assert kept.run("consent", "grant", someone, ADS, by=OFFICER).code == 0
    events = kept.run("consent", "show", someone, "--json", by=OFFICER).data["events"]
    assert [event["status"] for event in events] == ["given"]


def test_whoever_objects_with_a_merged_key_leaves_every_file(kept: Shop) -> None:
    someone, same = kept.inside(kept.newest("returners").id)[:2]
    assert kept.run("consent", "merge", someone, "--into", same, by=OFFICER).code == 0
    assert same in kept.inside(kept.newest("returners").id)
    assert kept.run("rights", "object", someone, by=OFFICER).code == 0
    assert same not in kept.inside(kept.newest("returners").id)


def test_what_cannot_be_done_is_refused_before_anything_is(kept: Shop) -> None:
    before = len(kept.log())
    assert erase(kept, WILLING[0], "--notices", str(kept.root / ".consentric" / "notices")).code == 2
    for words in (("erase", "", "--yes"), ("erase", "", "--dry-run"), ("access", "")):
        assert kept.run("rights", *words, by=OFFICER).code == 2, words
    assert kept.run("consent", "show", "", by=OFFICER).code == 2
    assert len(kept.log()) == before and not kept.workspace(OFFICER).suppression.marks(WILLING[0])


def test_an_erasure_that_is_finished_by_a_command_alone_keeps_others_out(kept: Shop) -> None:
    with kept.workspace(OFFICER).store.transaction("erase-intent") as write:
        erasures.begin(write, WILLING[0])
    del write
    gc.collect()
    workspace = Workspace.find(kept.root, {UNSAFE_VARIABLE: OFFICER}).open(alone=True)
    assert subject_rights.resume(workspace) == 1
    with pytest.raises(WorkspaceError, match="another command is at work"):
        Workspace.find(kept.root, {UNSAFE_VARIABLE: OFFICER}).open(alone=True)
    in_use = os.open(kept.root / ".consentric" / "in-use", os.O_RDWR)
    try:
        with pytest.raises(BlockingIOError):
            fcntl.flock(in_use, fcntl.LOCK_SH | fcntl.LOCK_NB)
    finally:
        os.close(in_use)
    assert workspace.suppression.marks(WILLING[0])


def test_the_state_of_the_list_outside_is_told_to_nobody_by_number(kept: Shop, tmp_path: Path) -> None:
    """Whoever may import learns of no single person whether they were erased; an officer does."""
    assert erase(kept, WILLING[0]).code == 0
    said = []
    for subject in WILLING[:2]:
        write_consents(file := tmp_path / f"{subject}.csv", [subject])
        for dry in (("--dry-run",), ()):
            done = kept.run("consent", "import", str(file), "--json", *dry, by=ANALYST)
            said.append((dry, done.code, done.data["events"], done.data["suppressed"]))
    assert said[:2] == said[2:] and said[0][1:] == (0, 2, None)
    again = kept.run("consent", "import", str(tmp_path / f"{WILLING[0]}.csv"), "--again", "--dry-run", "--json", by=OFFICER)
    assert again.data["suppressed"] == 2 and "suppressed" not in kept.run("doctor").out


def test_a_dry_run_changes_nothing_and_asks_nothing(kept: Shop) -> None:
    someone = WILLING[0]
    before = kept.log()
    shown = kept.run("rights", "erase", someone, "--dry-run", "--json", by=OFFICER)
    assert shown.code == 0 and shown.data["events"] == 2 and shown.data["left"] and not shown.data["erased"]
    assert len(kept.log()) == len(before) and len(left(kept, someone)) > 2
    asked = kept.run("rights", "erase", someone, by=OFFICER)  # nobody answers
    assert asked.code != 0 and len(left(kept, someone)) > 2
    assert kept.run("rights", "erase", someone, "--yes", by=ANALYST).code == 3


def test_what_nobody_could_erase_is_told_with_its_place(out: Shop) -> None:
    """The file that consents were imported from lies in the workspace, and is not ours to rewrite."""
    someone = WILLING[0]
    (out.root / "reports" / "notes.txt").write_text(f"called {someone} on Monday")
    done = erase(out, someone)
    assert done.code == 1
    assert done.data["left"] == [{"place": "data/consents.csv", "what": "the key"}, {"place": "reports/notes.txt", "what": "the key"}]


def test_comments_that_name_the_subject_are_redacted(built: Shop) -> None:
    (built.root / "data" / "consents.csv").unlink()
    someone = WILLING[0]
    assert built.run("approve", "groups", "-m", f"{someone} asked for it, not {someone[:-1]}", by=OFFICER).code == 0
    assert erase(built, someone).data["left"] == []
    page = (built.root / "reports").rglob("*.html")
    text = "".join(path.read_text() for path in page)
    assert f"[erased] asked for it, not {someone[:-1]}" in text
