from __future__ import annotations

import datetime as dt
import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit import log
from governance import consent
from governance.consent import ConsentEvent, Status
from governance.consent_files import ConsentFileError, import_file
from governance.store import Store
from policies.policy import Basis
from tests.ledgers import START, Clock, store

pytestmark = pytest.mark.usefixtures("database")

OFFERS = "marketing.advertising.first_party.targeted"
HEADER = "subject,purpose,status,event_time"
GOOD = f"ann,{OFFERS},given,2026-05-01T10:00:00Z"


def held(opened: Store) -> list[ConsentEvent]:
    with opened.read() as session:
        subjects = consent.snapshot_events(session, START)["subject"].unique().to_pylist()
        return [recorded.event for subject in sorted(subjects) for recorded in consent.history(session, subject)]


def log_size(opened: Store) -> int:
    with opened.read() as session:
        return log.size(session.connection())


def file(folder: Path, *lines: str, name: str = "events.csv") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def refusal(opened: Store, path: Path) -> str:
    """The one error, which both a dry run and an import give, and which leaves nothing behind."""
    with pytest.raises(ConsentFileError) as dry:
        import_file(opened, path, dry_run=True)
    with pytest.raises(ConsentFileError) as wet:
        import_file(opened, path)
    assert str(dry.value) == str(wet.value)
    assert str(path) in str(wet.value)
    assert held(opened) == [] and log_size(opened) == 0
    return str(wet.value).replace(str(path), "FILE")


def test_three_formats_give_the_same_events(tmp_path: Path) -> None:
    names = (
        *HEADER.split(","),
        "valid_until",
        "basis",
        "notice_version",
        "notice_hash",
        "controller",
        "jurisdiction",
        "method",
        "raw_signal",
    )
    full = (
        'o\'ne, "two"',
        OFFERS,
        "given",
        "2026-05-01T12:00:00+02:00",
        "2027-01-01",
        "consent",
        "v1",
        "hash",
        "Shop",
        "eu",
        "form",
        '{"a": 1}',
    )
    bare = ("007", "*", "objected", "2026-05-02 00:00:00", None, None, None, None, None, None, None, None)
    quoted = ",".join('"' + value.replace('"', '""') + '"' for value in full)
    paths = [
        file(tmp_path, ",".join(names), quoted, ",".join(value or "" for value in bare)),
        file(tmp_path, *(json.dumps(dict(zip(names, row, strict=True))) for row in (full, bare)), name="events.jsonl"),
        tmp_path / "events.parquet",
    ]
    pq.write_table(pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in (full, bare)]), paths[2])
    at = dt.datetime(2026, 5, 1, 10, tzinfo=dt.UTC)
    until = dt.datetime(2027, 1, 1, tzinfo=dt.UTC)
    expected = [
        ConsentEvent("007", "*", Status.OBJECTED, dt.datetime(2026, 5, 2, tzinfo=dt.UTC)),
        ConsentEvent(full[0], OFFERS, Status.GIVEN, at, until, Basis.CONSENT, "v1", "hash", "Shop", "eu", "form", '{"a": 1}'),
    ]
    for number, path in enumerate(paths):
        folder = tmp_path / str(number)
        folder.mkdir()
        opened = store(folder)
        assert import_file(opened, path, dry_run=True).events == 2
        assert held(opened) == []
        assert import_file(opened, path).events == 2
        assert held(opened) == expected
        assert log_size(opened) == 2  # that it was looked at, and all of its events


@pytest.mark.parametrize("kind", [pa.timestamp("ns"), pa.timestamp("us", tz="America/New_York"), pa.date32(), pa.timestamp("ms")])
def test_typed_times_of_parquet(tmp_path: Path, kind: pa.DataType) -> None:
    when = dt.datetime(2026, 5, 1, tzinfo=dt.UTC)
    times = pa.array([when], pa.timestamp("us", tz="UTC"))
    times = times.cast(kind) if kind.equals(pa.timestamp("us", tz="America/New_York")) else times.cast(pa.timestamp("us")).cast(kind)
    table = pa.table({"subject": [7], "purpose": [OFFERS], "status": ["given"], "event_time": times})
    pq.write_table(table, tmp_path / "events.parquet")
    opened = store(tmp_path)
    import_file(opened, tmp_path / "events.parquet")
    assert held(opened) == [ConsentEvent("7", OFFERS, Status.GIVEN, when)]


def test_the_received_time_is_the_clocks(tmp_path: Path) -> None:
    opened = store(tmp_path)
    import_file(opened, file(tmp_path, HEADER, GOOD))
    with opened.read() as session:
        assert consent.history(session, "ann")[0].received_time == START


def test_a_file_may_not_tell_the_received_time(tmp_path: Path) -> None:
    path = file(tmp_path, HEADER + ",received_time", GOOD + ",2020-01-01")
    assert "has a column `received_time` that is not known" in refusal(store(tmp_path), path)


@pytest.mark.parametrize("place", ["Germany", "DEU", "eu_de", "E U", "us-xx", "default"])
def test_a_place_that_nobody_knows_stops_the_file(tmp_path: Path, place: str) -> None:
    path = file(tmp_path, HEADER + ",jurisdiction", GOOD + ",de", GOOD + f",{place}", GOOD + ",US-CA")
    said = refusal(store(tmp_path), path)
    assert said.endswith(f"row 2: `jurisdiction`: got `{place}`, expected a code of ISO 3166 such as `de` or `us-ca`, or `eu`")


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (f",{OFFERS},given,2026-05-01", "`subject`: got nothing, expected a value"),
        ("SECRET,marketing.magic,given,2026-05-01", "`purpose`: got `marketing.magic`, expected a fideslang data use"),
        ("SECRET,*,given,2026-05-01", "`purpose`: got `*`, expected one data use"),
        (f"SECRET,{OFFERS},yes,2026-05-01", "`status`: got `yes`, expected one of requested, given, refused"),
        (f"SECRET,{OFFERS},given,yesterday", "`event_time`: got `yesterday`, expected a time in ISO 8601"),
        (f"SECRET,{OFFERS},given,infinity", "`event_time`: got `infinity`"),
        (f"SECRET,{OFFERS},given,12026-01-01", "`event_time`: got `12026-01-01`"),
        (f"SECRET,{OFFERS},given,", "`event_time`: got nothing"),
        (f"SECRET,{OFFERS},given,2026-05-20T12:05:01Z", "`event_time`: got `2026-05-20T12:05:01+00:00`, expected a time no later than now"),
    ],
)
def test_a_bad_row_is_told_without_its_subject(tmp_path: Path, row: str, fault: str) -> None:
    said = refusal(store(tmp_path), file(tmp_path, HEADER, GOOD, row))
    assert said.startswith("`FILE` was not imported; bad rows are\n  row 2: ") and fault in said
    assert "SECRET" not in said


def test_ten_bad_rows_are_enough(tmp_path: Path) -> None:
    said = refusal(store(tmp_path), file(tmp_path, HEADER, *[GOOD] * 12_000, *[GOOD + "x"] * 30))
    assert "the first 10 bad rows are" in said
    assert [line.split(":")[0] for line in said.splitlines()[1:]] == [f"  row {n}" for n in range(12_001, 12_011)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "lacks the column `subject`"),
        ("a.csv", HEADER.encode(), "`FILE` holds no event"),
        ("a.csv", f"{HEADER},extra\n{GOOD},1".encode(), "has a column `extra` that is not known"),
        ("a.csv", f"{HEADER},subject\n{GOOD},1".encode(), "has a column `subject` that is not known, or twice there"),
        ("a.csv", f"subject;purpose\n{GOOD}".encode(), "lacks the column `subject`"),
        ("a.csv", f"{HEADER}\n{GOOD}\nSECRET,{OFFERS}".encode(), "is broken at line 3"),
        ("a.csv", f'{HEADER}\n{GOOD}\n"SECRET,{OFFERS}'.encode(), "is broken at line 3"),
        ("a.csv", f"{HEADER}\n{GOOD}\n".encode() + b"SECRET\xff,a,b,c", "is broken at line 3"),
        ("a.csv", b"\xff\xfe", "has no header of column names"),
        ("a.jsonl", b'{"subject": "SECRET"', "is broken at line"),
        ("a.jsonl", b'{"subject": "SECRET"}', "lacks the column `purpose`"),
        (
            "a.jsonl",
            f'{{"subject": "SECRET", "purpose": "{OFFERS}", "status": "withdrawn", "status": "given", "event_time": "2026"}}'.encode(),
            "has an object with a name that is there twice",
        ),
        ("a.jsonl", b'["SECRET"]', "lacks the column `subject`"),
        ("a.parquet", b"PAR1SECRET", "is truncated or broken"),
        ("a.xlsx", b"SECRET", "got a file that ends in `.xlsx`"),
    ],
)
def test_a_broken_file_is_one_clear_error(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    said = refusal(store(tmp_path), tmp_path / name)
    assert message in said
    assert "SECRET" not in said


def test_a_truncated_parquet_file(tmp_path: Path) -> None:
    whole = tmp_path / "whole.parquet"
    pq.write_table(
        pa.table({"subject": ["SECRET"] * 1000, "purpose": [OFFERS] * 1000, "status": ["given"] * 1000, "event_time": ["2026"] * 1000}),
        whole,
    )
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(whole.read_bytes()[:-20])
    assert "is truncated or broken" in refusal(store(tmp_path), cut)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    opened = store(tmp_path)
    assert refusal(opened, tmp_path / "none.csv") == "`FILE` cannot be read: no such file or directory"
    assert refusal(opened, tmp_path) == "`FILE` cannot be read: is a directory"


def test_subjects_that_became_floats_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"subject": [1.0, None], "purpose": [OFFERS] * 2, "status": ["given"] * 2, "event_time": ["2026-01-01"] * 2}), path
    )
    assert "`subject` holds double numbers" in refusal(store(tmp_path), path)


@pytest.mark.parametrize("subject", ['{"id": 1}', "[1]", "true", "1.0", "null"])
def test_a_subject_in_json_is_a_text_or_a_whole_number(tmp_path: Path, subject: str) -> None:
    line = f'{{"subject": {subject}, "purpose": "{OFFERS}", "status": "given", "event_time": "2026-05-01"}}'
    assert "row 1: `subject`: got nothing" in refusal(store(tmp_path), file(tmp_path, line, name="a.jsonl"))


def test_an_identical_file_is_imported_once_unless_asked_for(tmp_path: Path) -> None:
    clock = Clock()
    opened = store(tmp_path, clock)
    first = file(tmp_path, HEADER, GOOD)
    copy = file(tmp_path, HEADER, GOOD, name="copy.csv")
    import_file(opened, first)
    clock.tick(days=1)
    for dry_run in (True, False):
        with pytest.raises(ConsentFileError, match=r"copy.csv` was imported before, at 2026-05-20T12:00:00.000000Z; .* `--again`"):
            import_file(opened, copy, dry_run=dry_run)
    assert len(held(opened)) == 1
    import_file(opened, copy, again=True)
    import_file(opened, file(tmp_path, HEADER, GOOD, GOOD, name="more.csv"))
    assert len(held(opened)) == 4


def test_no_digest_of_the_file_is_kept(tmp_path: Path, database: str) -> None:
    if database != "sqlite":
        pytest.skip("the same rows, in files that are not ours to read")
    opened = store(tmp_path)
    path = file(tmp_path, HEADER, GOOD)
    import_file(opened, path)
    digest = hashlib.sha256(path.read_bytes())
    opened.close()
    kept = b"".join(part.read_bytes() for part in tmp_path.glob("meta.db*"))
    assert b"consent.append" in kept
    assert digest.digest() not in kept and digest.hexdigest().encode() not in kept
