"""What happens to a segment after it was built: its time ends, people leave it, what was handed over is recalled, others are scored."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import engine.workspace
from audit import log as audit_log
from engine import considered, copies, release
from engine.files import draft_folder, flush_folder
from governance.builds import Status
from tests.scenes import ADS, ANALYST, OFFICER, POLICY, REFUSING, SUBJECTS, Shop, listed, purchases

WILLING = [subject for subject in SUBJECTS if subject not in REFUSING]
Jump = Callable[..., None]


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Jump:
    """Lets time pass: `jump(days=3)`, from what the machine's clock says."""

    def later(**by: float) -> None:
        monkeypatch.setattr(engine.workspace, "now", lambda: dt.datetime.now(dt.UTC) + dt.timedelta(**by))

    return later


def hidden(shop: Shop) -> Path:
    return shop.root / ".consentric"


def holding(shop: Shop, *texts: str) -> set[str]:
    """Files of the workspace's own, the database aside, that hold one of `texts`; Parquet is read, and looked at as bytes."""
    found = set()
    for path in hidden(shop).rglob("*"):
        if path.is_file() and "metadata.db" not in path.name:
            raw = path.read_bytes()
            if path.suffix == ".parquet":
                raw += json.dumps([column.to_pylist() for column in pq.read_table(path).columns], default=repr).encode()
            if any(text.encode() in raw for text in texts):
                found.add(path.relative_to(hidden(shop)).parts[0])
    return found


# -- leaving -------------------------------------------------------------------------------------------------------------


def test_whoever_withdrew_leaves_every_file_and_the_recipient_is_told(out: Shop, tmp_path: Path) -> None:
    build = out.newest("returners")
    gone, stays = out.inside(build.id)[0], out.inside(build.id)[1]
    (name,) = out.pseudonyms([gone])
    assert out.run("segments", "export", "returners", "--to", str(tmp_path / "list.csv")).code == 0
    out.withdraw([gone])
    swept = out.run("sweep", "--json", by=OFFICER).data
    assert (swept["left"], swept["expired"], len(swept["notices"])) == (1, [], 1)
    assert gone not in out.inside(build.id) and stays in out.inside(build.id)
    assert name not in listed(hidden(out) / "releases" / build.id / "membership.csv")
    assert holding(out, gone) == {"builds"}  # the record of who was considered, and nothing else
    assert holding(out, name) == {"notices"}
    (notice,) = out.run("segments", "notices", "--to", str(tmp_path), "--json").data["notices"]
    asked = json.loads((tmp_path / f"mail-{notice['notice']}.json").read_text())
    assert (asked["delete"], asked["whole"], notice["state"]) == ([name], False, "handed over")
    assert out.run("segments", "acknowledge", notice["notice"]).code == 0
    assert holding(out, name) == set() and out.run("segments", "notices", "--json").data["notices"] == []
    assert out.run("segments", "acknowledge", notice["notice"]).code == 2
    assert out.run("sweep", "--json", by=OFFICER).data["notices"] == []
    assert out.whole("returners") and out.verify() == 0


def test_a_sweep_says_how_many_left_to_whoever_may_see_exact_counts_and_logs_nobody(out: Shop) -> None:
    gone = out.inside(out.newest("returners").id)[:3]
    out.withdraw(gone)
    dry = out.run("sweep", "--dry-run", "--json", by=ANALYST)  # an administrator here, and no officer
    assert dry.code == 0 and "left" not in dry.data and gone[0] in out.inside(out.newest("returners").id)
    seen = out.run("sweep", "--json", by=OFFICER)
    assert seen.data["left"] == 3
    entries = out.log()
    (done,) = [entry for entry in entries if entry["action"] == "sweep.done"]
    assert "3" not in done["summary"] and not any(subject in json.dumps(entries) for subject in gone)
    assert "sweep.counted" in [entry["action"] for entry in entries]


def test_where_nothing_was_built_a_sweep_has_nothing_to_do_and_writes_nothing(shop: Shop) -> None:
    assert shop.run("sweep", by=OFFICER).code == 0
    assert "sweep.done" not in [entry["action"] for entry in shop.log()]


def test_consent_that_expires_ends_like_one_that_is_withdrawn(built: Shop, jump: Jump, tmp_path: Path) -> None:
    """Between build and release, between release and export, and in files at the next sweep."""
    first, second = built.inside(built.newest("returners").id)[:2]
    for subject, days in ((first, "10d"), (second, "20d")):
        assert built.run("consent", "grant", subject, ADS, "--valid-for", days, by=OFFICER).code == 0
    jump(days=11)
    assert built.run("approve", "returners", by=OFFICER).code == 0
    members = built.members("returners")
    assert built.pseudonyms([second]) <= members and not built.pseudonyms([first]) & members
    jump(days=21)
    assert built.run("segments", "export", "returners", "--to", str(tmp_path / "x.csv")).code == 0
    assert listed(tmp_path / "x.csv") == members - built.pseudonyms([second])
    assert built.run("sweep", by=OFFICER).code == 0
    assert not {first, second} & set(built.inside(built.newest("returners").id))
    assert holding(built, *built.pseudonyms([first, second])) == set()


def test_a_policy_that_lost_the_purpose_empties_no_list(out: Shop) -> None:
    """Reads are refused meanwhile; the mistake can be mended."""
    before = out.inside(out.newest("returners").id)
    other = {"marketing.advertising.first_party.contextual": {"basis": {"eu": "consent"}}} | {
        k: v for k, v in POLICY["purposes"].items() if k != ADS
    }
    budgets = POLICY["budgets"] | {"purposes": {}}
    out.write("policies", POLICY | {"purposes": other, "budgets": budgets})
    swept = out.run("sweep", "--json", by=OFFICER).data
    assert swept["left"] == 0 and len(swept["problems"]) == 2 and ADS in swept["problems"][0]
    assert out.inside(out.newest("returners").id) == before
    assert out.run("segments", "members", "returners").code == 3


# -- ends ----------------------------------------------------------------------------------------------------------------


def test_a_release_ends_by_the_clock_and_the_sweep_deletes_it(out: Shop, jump: Jump, tmp_path: Path) -> None:
    build = out.newest("returners").id
    assert out.run("segments", "export", "returners", "--to", str(tmp_path / "x.csv")).code == 0
    jump(days=366)
    for words in (("members", "returners"), ("export", "returners", "--to", str(tmp_path / "y.csv")), ("score", "returners")):
        refused = out.run("segments", *words)
        assert refused.code == 3 and "release-expired" in refused.err and refused.out == "", words
    assert not (tmp_path / "y.csv").exists() and out.status(build) is Status.RELEASED
    assert out.run("sweep", by=OFFICER).code == 0
    assert out.status(build) is Status.EXPIRED
    assert not (hidden(out) / "builds" / build).exists() and not (hidden(out) / "releases" / build).exists()
    assert not any((hidden(out) / "exports").iterdir())
    assert "expired" in (out.root / "reports" / "returners.html").read_text()
    (notice,) = out.run("segments", "notices", "--json").data["notices"]
    assert notice["whole"] and notice["destination"] == "mail"
    assert out.verify() == 0


def test_lists_may_end_before_their_release(out: Shop, jump: Jump) -> None:
    build = out.newest("returners").id
    jump(days=181)
    assert out.run("segments", "members", "returners").code == 3
    assert out.run("sweep", by=OFFICER).code == 0
    assert out.status(build) is Status.RELEASED
    assert not (hidden(out) / "builds" / build / "membership.parquet").exists()
    assert [path.name for path in (hidden(out) / "releases" / build).iterdir()] == ["passport.json"]
    assert out.run("segments", "score", "returners").code == 0


def test_what_waits_too_long_cannot_be_approved_any_more(built: Shop, jump: Jump) -> None:
    build = built.newest("groups").id
    jump(days=181)
    refused = built.run("approve", "groups", by=OFFICER)
    assert refused.code == 3 and "build-expired" in refused.err
    assert built.status(build) is Status.QUARANTINED
    assert built.run("sweep", by=OFFICER).code == 0
    assert built.status(build) is Status.EXPIRED and not (hidden(built) / "builds" / build).exists()


def test_a_sweep_clears_what_crashes_left_and_leaves_alone_what_is_being_written(out: Shop) -> None:
    build = out.newest("groups").id
    left = hidden(out) / "builds" / f"{build}.dead.partial"
    left.mkdir()
    (left / "membership.parquet").write_bytes(b"person-00001")
    stray = hidden(out) / "builds" / "0123456789abcdef"
    stray.mkdir()
    (hidden(out) / "notices").mkdir(exist_ok=True)
    (hidden(out) / "notices" / "0123456789abcdef.json").write_text("{}")
    with draft_folder(hidden(out) / "builds" / build) as written:
        assert out.run("sweep", "--dry-run", "--json", by=OFFICER).data["cleared"] == 3
        assert left.exists() and stray.exists()
        assert out.run("sweep", "--json", by=OFFICER).data["cleared"] == 3
        assert written.exists() and not left.exists() and not stray.exists()
    assert not list((hidden(out) / "notices").iterdir())
    assert out.whole("groups")


def test_recall_asks_recipients_to_delete_everybody(out: Shop, tmp_path: Path) -> None:
    members = out.members("returners")
    assert out.run("segments", "export", "returners", "--to", str(tmp_path / "x.csv")).code == 0
    assert out.run("segments", "recall", "returners", by=OFFICER).code == 0
    shown = out.run("segments", "show", "returners", "--json").data
    assert [notice["whole"] for notice in shown["notices"]] == [True] and [e["destination"] for e in shown["exports"]] == ["mail"]
    assert out.run("segments", "notices", "--to", str(tmp_path)).code == 0
    (file,) = tmp_path.glob("mail-*.json")
    assert set(json.loads(file.read_text())["delete"]) == members
    assert not any((hidden(out) / "exports").iterdir())


def test_notices_are_not_written_where_the_workspace_keeps_its_own(out: Shop, tmp_path: Path) -> None:
    for folder in (hidden(out) / "notices", tmp_path / "nowhere"):
        assert out.run("segments", "notices", "--to", str(folder)).code == 2


def test_a_build_that_is_rejected_in_the_middle_of_its_release_is_refused(built: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    flush, calls = flush_folder, list[int]()

    def meddle(partial: Path, name: str) -> None:
        flush(partial, name)
        calls.append(1)
        if len(calls) == 1:
            assert built.run("reject", "returners", by="otto").code == 0

    monkeypatch.setattr(release, "flush_folder", meddle)
    late = built.run("approve", "returners", by=OFFICER)
    assert late.code == 3 and "rejected" in late.err and calls == [1]
    assert built.newest("returners").status is Status.REJECTED


# -- models --------------------------------------------------------------------------------------------------------------


def test_a_model_that_somebody_left_is_marked_and_scores_nobody_once_it_is_overdue(out: Shop, jump: Jump) -> None:
    build = out.newest("groups")
    assert build.retrain_by is None
    out.withdraw(out.inside(build.id)[:1])
    assert out.run("sweep", by=OFFICER).code == 0
    marked = out.newest("groups").retrain_by
    assert marked is not None and 89 <= (marked - dt.datetime.now(dt.UTC)).days <= 90
    out.withdraw(out.inside(build.id)[:1])
    jump(days=2)
    assert out.run("sweep", by=OFFICER).code == 0
    assert out.newest("groups").retrain_by == marked  # the first day stands
    shown = out.run("segments", "show", "groups")
    assert "at ε 2" in shown.out and "a factor of at most 7.39" in shown.out and "not untrained" in shown.out
    assert "may not be used any more" in (out.root / "reports" / "groups.html").read_text()
    assert f"retrain by {marked:%Y-%m-%d}" in out.run("segments", "list").out
    assert out.run("segments", "score", "groups").code == 0
    jump(days=100)
    late = out.run("segments", "score", build.id)
    assert late.code == 3 and "model-to-be-retrained" in late.err


def test_whoever_was_left_out_marks_no_model(out: Shop) -> None:
    out.withdraw(sorted(REFUSING)[:1])
    assert out.run("sweep", by=OFFICER).code == 0
    assert out.newest("groups").retrain_by is None


# -- scoring -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("segment", ["groups", "returners"])
def test_the_people_of_the_model_are_scored_as_they_were_when_it_was_built(out: Shop, segment: str) -> None:
    """Same day, same people, same rows: the same lists, and nothing is charged."""
    model, before = out.newest(segment), out.ledger()
    done = out.run("segments", "score", segment, "--as-of", "2025-07-01", "--json")
    assert done.code == 0 and done.data["model"] == model.id and done.data["status"] == "quarantined"
    scored = out.newest(segment)
    kept = [pq.read_table(hidden(out) / "builds" / build / "membership.parquet").sort_by("subject") for build in (model.id, scored.id)]
    assert kept[0].equals(kept[1])
    assert out.ledger() == before
    assert all(part["size"] is None for part in done.data["parts"])


def test_new_people_are_scored_and_nobody_who_may_not(out: Shop, tmp_path: Path) -> None:
    more = ["new-1", "new-2"]
    table = purchases()
    rows = table.filter(pa.array(np.arange(table.num_rows) < 2)).set_column(0, "customer", pa.array(more))
    pq.write_table(pa.concat_tables([table, rows]), out.root / "data" / "purchases.parquet")
    model = out.newest("groups")
    gone = out.inside(model.id)[0]
    assert out.run("consent", "grant", "new-1", ADS, by=OFFICER).code == 0
    out.withdraw([gone])
    assert out.run("segments", "score", "groups", "--to", str(tmp_path / "s.csv")).code == 0
    scored = out.newest("groups")
    assert not (tmp_path / "s.csv").exists() and scored.status is Status.QUARANTINED
    assert out.run("approve", scored.id, by=ANALYST).code == 3  # whoever scored does not approve
    assert out.run("approve", scored.id, by=OFFICER).code == 0
    inside = set(out.inside(scored.id))
    assert "new-1" in inside and not inside & {"new-2", gone, *REFUSING}
    assert out.run("segments", "export", scored.id, "--to", str(tmp_path / "s.csv")).code == 0
    assert out.pseudonyms(["new-1"]) <= listed(tmp_path / "s.csv") == out.members("groups") == out.pseudonyms(inside)
    passport = hidden(out) / "releases" / scored.id / "passport.json"
    assert out.run("audit", "verify", str(passport)).code == 0
    considered_ = pq.read_table(hidden(out) / "builds" / scored.id / "considered.parquet")
    assert not any(considered_["trained"].to_pylist())  # scored with a model is not trained into one
    assert out.verify() == 0


def test_scoring_reads_no_label_and_no_fairness_attribute_and_asks_the_policy_of_today(out: Shop) -> None:
    (out.root / "data" / "people.parquet").unlink()  # an attribute's file: a build would fail
    assert out.run("segments", "score", "returners").code == 0
    rules = [dict(rule) for rule in POLICY["rules"]]
    rules.append({"id": "no-more", "effect": "forbid", "categories": ["user.behavior"], "reason": "we stopped that"})
    out.write("policies", POLICY | {"rules": rules})
    refused = out.run("segments", "score", "returners")
    assert refused.code == 3 and "no-more" in refused.err


def test_what_was_scored_is_no_model(out: Shop) -> None:
    assert out.run("segments", "score", "groups").code == 0
    scored = out.newest("groups").id
    assert out.run("approve", scored, by=OFFICER).code == 0
    assert out.run("segments", "score", scored).code == 3
    assert out.run("segments", "score", "groups").code == 0  # the model's, though the scored list is newer
    assert out.run("fairness", "groups").code == 0


@pytest.mark.slow
def test_what_was_scored_ends_when_its_model_is_recalled_and_recipients_are_told(out: Shop, tmp_path: Path) -> None:
    model, lists = out.newest("groups").id, list[str]()
    for approved in (True, False):
        assert out.run("segments", "score", model).code == 0
        lists.append(out.newest("groups").id)
        assert not approved or out.run("approve", lists[-1], by=OFFICER).code == 0
    assert out.run("segments", "export", lists[0], "--to", str(tmp_path / "list.csv")).code == 0
    assert out.run("segments", "recall", model, by=OFFICER).code == 0
    assert [out.status(build) for build in (model, *lists)] == [Status.RECALLED, Status.EXPIRED, Status.EXPIRED]
    assert out.run("segments", "members", lists[0]).code == out.run("approve", lists[1], by=OFFICER).code == 3
    assert not any((hidden(out) / "builds" / build).exists() for build in lists)
    assert [notice["whole"] for notice in out.run("segments", "notices", "--json").data["notices"]] == [True]


@pytest.mark.slow
def test_what_was_scored_ends_by_the_clock_of_its_model(out: Shop, jump: Jump) -> None:
    jump(days=200)
    for segment in ("groups", "returners"):
        assert out.run("segments", "score", segment).code == 0
    shown, waits = out.newest("groups").id, out.newest("returners").id
    assert out.run("approve", shown, by=OFFICER).code == 0
    out.withdraw(out.inside(shown)[:1])
    assert out.run("sweep", by=OFFICER).code == 0  # its model is to be trained anew within 90 days
    assert out.run("segments", "members", shown).code == 0
    jump(days=300)
    late = out.run("segments", "members", shown)
    assert late.code == 3 and "model-to-be-retrained" in late.err and late.out == ""
    jump(days=366)
    late = out.run("approve", waits, by=OFFICER)
    assert late.code == 3 and "model-ended" in late.err
    assert out.run("sweep", by=OFFICER).code == 0
    assert out.status(shown) is out.status(waits) is Status.EXPIRED


@pytest.mark.parametrize("words", [("--as-of", "2999-01-01"), ("--as-of", "soon"), ("--to", "list.txt")])
def test_scoring_tells_what_it_cannot_do(out: Shop, words: tuple[str, ...]) -> None:
    refused = out.run("segments", "score", "groups", *words)
    assert refused.code == 2 and words[0] in refused.err


# -- evidence and erasure ------------------------------------------------------------------------------------------------


def test_leaves_of_a_build_open_against_the_root_in_the_log_also_after_somebody_was_dropped(out: Shop, tmp_path: Path) -> None:
    assert out.run("segments", "export", "groups", "--to", str(tmp_path / "x.csv")).code == 0
    build, workspace = out.newest("groups").id, out.workspace()
    with workspace.store.read() as session:
        facts = [e.parsed["facts"] for e in audit_log.entries(session.connection()) if e.parsed["action"] == "build.quarantined"]
    (root,) = [bytes.fromhex(each["consent_root"]) for each in facts if each["build"] == build]
    file = hidden(out) / "builds" / build / "considered.parquet"
    gone, refusing = out.inside(build)[0], min(REFUSING)
    names = out.pseudonyms([gone])
    dropped = copies.drop(workspace, [gone, refusing])
    assert dropped.files >= 4 and len(dropped.notices) == 1
    assert holding(out, gone, refusing) == set() and holding(out, *names) == {"notices"}
    assert considered.commitments(pq.read_table(file)).root == root
    assert considered.opening(file, build, gone) is None
    other = considered.opening(file, build, sorted(REFUSING)[1])
    assert other is not None and (other.root, other.trained) == (root, False)
    assert out.newest("groups").retrain_by is not None
    again = copies.drop(workspace, [gone, refusing])
    assert again.notices == dropped.notices  # it still names them, until it is handed over
    assert out.verify() == 0
