from __future__ import annotations

import csv
import datetime as dt
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit import log
from governance import consent
from governance.consent import ConsentEvent, Status
from governance.consent_files import ConsentFileError, Imported, import_file
from governance.signals.purposes import CROSS_CONTEXT, SALE, Controller, needs
from governance.store import Store
from governance.suppression import Kind as Listed
from governance.suppression import Suppression
from tests.ledgers import store
from tests.signals import california, gpp, tc_string

DAY = dt.datetime(2026, 4, 1, tzinfo=dt.UTC)
SEEN = "2026-04-03T09:00:00Z"
TARGETED = "marketing.advertising.first_party.targeted"
TCF = tc_string(updated=DAY, consent=(1, 3, 4), vendors=(12,), disclosed=(12,))
WHO = Controller(12, needs())


def taken(opened: Store, path: Path, **options: Any) -> Imported:
    return import_file(opened, path, controller=lambda: WHO, **options)


def history(opened: Store, subject: str) -> list[ConsentEvent]:
    with opened.read() as session:
        return [recorded.event for recorded in consent.history(session, subject)]


def entries(opened: Store) -> list[Mapping[str, Any]]:
    with opened.read() as session:
        return [entry.parsed for entry in log.entries(session.connection(), 0)]


def written(path: Path, rows: Iterable[Mapping[str, str]]) -> Path:
    """In the format of its name, with the columns of all rows."""
    listed = [*rows]
    names = [*dict.fromkeys(name for row in listed for name in row)]
    match path.suffix:
        case ".csv":
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, names)
                writer.writeheader()
                writer.writerows(listed)
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in listed))
        case _:
            pq.write_table(pa.table({name: [row.get(name) for row in listed] for name in names}), path)
    return path


ROWS = (
    {"subject": "ann", "at": SEEN, "tcf": TCF, "jurisdiction": "eu"},
    {"subject": "bob", "at": SEEN, "gpp": gpp(s8=california(sale=1)), "gpc": "0"},
    {"subject": "cem", "at": SEEN, "gpc": "1", "jurisdiction": "us-co", "controller": "Shop Ltd"},
)


@pytest.mark.parametrize("name", ["signals.csv", "signals.jsonl", "signals.parquet"])
def test_signals_become_events_in_one_entry(tmp_path: Path, name: str) -> None:
    opened = store(tmp_path)
    done = taken(opened, written(tmp_path / name, ROWS))
    ann = {event.purpose: event for event in history(opened, "ann")}
    assert ann[TARGETED].status is Status.GIVEN and ann[TARGETED].raw_signal == TCF and ann[TARGETED].jurisdiction == "eu"
    assert json.loads(ann[TARGETED].decoded or "")["purposes"] == {"4": "given"}
    assert {event.purpose for event in history(opened, "bob")} == {"third_party_sharing"}
    cem = history(opened, "cem")
    assert {event.purpose for event in cem} == {*SALE, *CROSS_CONTEXT} and {event.controller for event in cem} == {"Shop Ltd"}
    (entry,) = entries(opened)
    assert done.receipt
    assert entry["facts"] == {"batch": done.receipt.batch, "events": done.events, "root": done.receipt.root.hex()}
    assert done.events == len(ann) + 1 + len(cem)


def test_bad_signals_are_counted_with_their_place_and_never_repeated(tmp_path: Path) -> None:
    opened = store(tmp_path)
    bad = [{"subject": f"SECRET{n}", "at": SEEN, "tcf": TCF[:40], "gpc": "1"} for n in range(12)]
    path = written(tmp_path / "signals.csv", [*ROWS, *bad, {"subject": "dee", "at": SEEN, "usp": "1Y"}])
    dry = taken(opened, path, dry_run=True)
    done = taken(opened, path)
    assert dry.rejected == done.rejected == {"tcf: ends in the middle of a field": 12, "usp: ends in the middle of a field": 1}
    assert dry.events == done.events and dry.first == done.first and len(done.first) == 10
    assert str(done.first[0]) == "row 4: `tcf`: ends in the middle of a field, at character 40"
    checked, entry = entries(opened)
    assert checked["facts"] == {} and entry["facts"]["rejected"] == done.rejected
    assert TCF[:40] not in json.dumps(entry) and "SECRET" not in json.dumps(entry)
    assert {event.status for event in history(opened, "SECRET3")} == {Status.OBJECTED}  # what could be read counts
    assert history(opened, "dee") == []


def test_a_file_that_says_nothing_is_told_why(tmp_path: Path) -> None:
    opened = store(tmp_path)
    path = written(tmp_path / "signals.csv", [{"subject": "ann", "at": SEEN, "tcf": "C"}, {"subject": "bob", "at": SEEN, "tcf": ""}])
    with pytest.raises(ConsentFileError, match=r"holds no event\n  1 rejected: tcf: ends in the middle of a field\n  row 1: `tcf`"):
        taken(opened, path)
    assert entries(opened) == []


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"subject": "", "at": SEEN, "gpc": "1"}, "row 1: `subject`: got nothing"),
        ({"subject": "SECRET", "at": "", "gpc": "1"}, "row 1: `at`: got nothing"),
        ({"subject": "SECRET", "at": "soon", "gpc": "1"}, "row 1: `at`: got `soon`"),
        ({"subject": "SECRET", "at": "2030-01-01", "gpc": "1"}, "expected a time no later than now"),
        ({"subject": "SECRET", "at": SEEN, "tcf": TCF, "valid_until": "2026-01-01"}, "row 1: `valid_until`"),
        *[
            ({"subject": "SECRET", "at": SEEN, "gpc": "1", "jurisdiction": place}, f"row 1: `jurisdiction`: got `{place}`")
            for place in ("Germany", "us_ca", "default")
        ],
        ({"subject": "SECRET", "gpc": "1"}, "lacks the column `at`: expected subject, at, and perhaps tcf, gpp"),
        ({"subject": "SECRET", "at": SEEN, "gpc": "1", "status": "given"}, "has a column `status` that is not known"),
    ],
)
def test_a_bad_row_stops_the_file(tmp_path: Path, row: Mapping[str, str], message: str) -> None:
    opened = store(tmp_path)
    with pytest.raises(ConsentFileError) as refused:
        taken(opened, written(tmp_path / "signals.csv", [row]))
    assert message in str(refused.value) and "SECRET" not in str(refused.value)
    assert entries(opened) == []


def suppression(folder: Path) -> Suppression:
    """Bob was erased after the signal was seen, and Cem objected to sales."""
    made = Suppression(folder, "log")
    made.create()
    later = dt.datetime.fromisoformat(SEEN) + dt.timedelta(days=1)
    made.add("bob", Listed.ERASED, later)
    for purpose in SALE:
        made.add("cem", Listed.OBJECTED, later, purpose)
    return made


def test_a_file_of_erased_people_alone_is_taken_like_any_other(tmp_path: Path) -> None:
    """Whoever may import and no more must not be able to tell from it that somebody was erased."""
    opened, known = store(tmp_path), suppression(tmp_path / "outside")
    for name in ("ann", "bob"):
        rows = [{"subject": name, "purpose": SALE[0], "status": "given", "event_time": SEEN}]
        path = written(tmp_path / f"{name}.csv", rows)
        dry, done = (taken(opened, path, dry_run=dry_run, suppression=known) for dry_run in (True, False))
        assert dry.events + (dry.suppressed or 0) == done.events + (done.suppressed or 0) == 1
        with pytest.raises(ConsentFileError, match="was imported before"):
            taken(opened, path, suppression=known)
    assert history(opened, "bob") == []
    with opened.read() as session:
        actions = [entry.parsed["action"] for entry in log.entries(session.connection())]
    assert actions == ["consent.checked", "consent.append", "consent.checked", "consent.left_out"]


@pytest.mark.parametrize("kind", ["signals", "events"])
def test_whoever_was_erased_does_not_come_back(tmp_path: Path, kind: str) -> None:
    rows = [{**row} for row in ROWS]
    if kind == "events":
        rows = [{"subject": name, "purpose": SALE[0], "status": "given", "event_time": SEEN} for name in ("ann", "bob", "cem")]
    opened = store(tmp_path)
    path = written(tmp_path / "file.csv", rows)
    known = suppression(tmp_path / "outside")
    dry = taken(opened, path, dry_run=True, suppression=known)
    done = taken(opened, path, suppression=known)
    assert dry.suppressed == done.suppressed == (1 if kind == "signals" else 2) and dry.events == done.events
    assert history(opened, "bob") == [] and history(opened, "ann")
    back = {event.purpose: event.status for event in history(opened, "cem")}  # an objection outlives what came back
    assert {status for purpose, status in back.items() if purpose in SALE} == ({Status.OBJECTED} if kind == "signals" else set())
    assert done.receipt and done.receipt.events == done.events
