"""The columnar copy of the consent ledger: files that admission reads in a second, where the database would take a minute.

A cache and nothing else. The database holds the one row that says which folder may be believed, up to which event, and the
digests of its files; whatever is missing, torn, foreign or older is passed over, and the ledger read instead. Writers of the
ledger wait for each other, so event numbers grow, and a copy up to a number (the *watermark*) plus the events above it are all
there is. An erasure rewrites events below it: that counts the *epoch* up, and no copy of an earlier epoch is ever believed.

    consent/NAME/subjects.parquet   id (its place), subject, key: the number that it spells, if it does
    consent/NAME/standing.parquet   what admission judges now: one row an event, sorted as `governance.verdicts` wants it
    consent/NAME/times.parquet      the same rows: when, the event's number, notice version; for past moments, and the next copy
    consent/NAME/words.parquet      purposes and jurisdictions, by their numbers

Order of a refresh, so that a crash leaves the old copy or none: (1) files in a draft, flushed, (2) renamed to a name of their
own, (3) the row, with an entry in the log, unless the epoch has changed, (4) the old folder removed. What a crash leaves beside
is removed by the next.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sqlmodel import Session

from audit.failpoint import reach
from governance.consent import SNAPSHOT, events_after, newest_event
from governance.facts import COLUMNS, KEY, coded, statuses, text, tied
from governance.store import Store, Transaction, micros
from governance.tables import ConsentSnapshotRow
from governance.verdicts import Facts, Part

PLACE = "consent"
"""The folder of snapshots, in the workspace's hidden one."""

MANY = 50_000
"""Events above the watermark from which on a new copy is worth its time."""

MEMORY = "2GB"
"""What DuckDB may take to make one; it spills beside the draft."""

FORMAT = "2"
"""What the numbers in the files mean: a copy of another format is not believed. 2: words of purposes name controllers."""

SUBJECTS, STANDING, TIMES, WORDS = FILES = ("subjects.parquet", "standing.parquet", "times.parquet", "words.parquet")

Progress = Callable[[str], None]
"""Told the name of each step."""

_GROUP = 1 << 19
"""Rows that are read at a time."""

_SPREAD = 16
"""Numbers for each subject, up to which a table of all of them is a quick way to find one."""

STEPS = 3
"""How many of them there are."""


@dataclass(frozen=True, slots=True)
class Base:
    """A copy that was found to be what the database says. `subjects`: how many; words: purposes and jurisdictions by number."""

    folder: Path
    watermark: int
    subjects: int
    words: tuple[Sequence[str], Sequence[str]]

    @property
    def files(self) -> tuple[Path, ...]:
        """What the engine must be let read."""
        return tuple(self.folder / name for name in FILES)

    @property
    def dictionary(self) -> str:
        """SQL of the relation of subjects: subject, key, id."""
        return _parquet(self.folder / SUBJECTS)

    def parts(self, wanted: NDArray[np.bool_]) -> Iterator[Part]:
        """What is known of the subjects with these ids (n_subjects,), in parts that are read when they are called for."""
        for group in range(pq.read_metadata(self.folder / STANDING).num_row_groups):
            yield partial(self._part, group, wanted)

    def _part(self, group: int, wanted: NDArray[np.bool_]) -> Facts:
        with pq.ParquetFile(self.folder / STANDING) as file:
            table = file.read_row_group(group, [*COLUMNS], use_threads=False)
        facts = Facts(*(table[name].to_numpy() for name in COLUMNS))
        rows = wanted[facts.ask]
        return facts if rows.all() else facts.where(rows)

    def by_number(self, numbers: NDArray[np.int64]) -> NDArray[np.int32] | None:
        """The id of each subject that is known by its number, -1 of whom this copy does not hold; None where numbers lie too far apart."""
        keys = pq.read_table(self.folder / SUBJECTS, columns=["key"])["key"].drop_null().to_numpy()  # sorted, and their places are ids
        first, last = (int(keys[0]), int(keys[-1])) if len(keys) else (0, 0)
        if last - first >= _SPREAD * max(1, len(keys)):
            return None
        at = np.full(last - first + 1, -1, np.int32)
        at[keys - first] = np.arange(len(keys), dtype=np.int32)
        inside = (numbers >= first) & (numbers <= last)
        ids = np.full(len(numbers), -1, np.int32)
        ids[inside] = at[numbers[inside] - first]
        return ids

    @property
    def events(self) -> str:
        """SQL of every event, with the columns of `governance.facts.coded`."""
        subjects, standing, times, words = map(_parquet, self.files)
        return (
            "SELECT t.id, d.subject, p.word AS purpose, s.code, t.happened, t.received, s.until, s.noticed, s.guardian, "
            "j.word AS jurisdiction "
            f"FROM ({standing} s POSITIONAL JOIN {times} t) JOIN {subjects} d ON d.id = s.ask "
            f"JOIN {words} p ON p.kind = 'purpose' AND p.place = s.purpose "
            f"LEFT JOIN {words} j ON j.kind = 'jurisdiction' AND j.place = s.jurisdiction"
        )


@contextmanager
def base(session: Session, hidden: Path, at: dt.datetime, times: bool = False) -> Iterator[Base | None]:
    """The copy that may be believed about `at`, while the block lasts; None: read the ledger. `times`: for `Base.events` too."""
    row = session.get(ConsentSnapshotRow, 1)
    folder = hidden / PLACE
    if row is None or not row.folder or micros(at) < row.newest or not folder.is_dir():
        yield None
        return
    with _held(folder / "in-use", fcntl.LOCK_SH):
        yield _believed(folder, row, FILES if times else (SUBJECTS, STANDING, WORDS))


def behind(session: Session) -> int:
    """How many events the copy lacks, about; all of them where there is none."""
    row = session.get(ConsentSnapshotRow, 1)
    return newest_event(session) - (row.watermark if row and row.folder else 0)


def refresh(store: Store, hidden: Path, progress: Progress = lambda _step: None) -> int:
    """Make a copy of all that the ledger holds now, out of the last one and what came since, or of everything.

    Returns how many events it holds, an exact figure. Raises StoreError, and OSError where the disk refuses.
    """
    folder = hidden / PLACE
    folder.mkdir(mode=0o700, exist_ok=True)
    with _held(folder / "building", fcntl.LOCK_EX):
        while True:
            _clear(store, folder)
            draft = folder / "draft"
            draft.mkdir(mode=0o700)
            try:
                made = _build(store, folder, draft, progress)
                if _place(store, folder, draft, made):
                    return made.events
            except (OSError, duckdb.Error):
                if draft.exists():
                    raise
            # it was discarded on the way: what was read may hold whom somebody erased
            finally:
                shutil.rmtree(draft, ignore_errors=True)


def invalidate(transaction: Transaction) -> None:
    """No copy that was made of what the ledger held before this transaction is believed again. For whoever rewrites events."""
    row = transaction.session.get(ConsentSnapshotRow, 1) or ConsentSnapshotRow()
    row.epoch, row.folder, row.digests, row.watermark, row.events, row.newest = row.epoch + 1, "", "{}", 0, 0, 0
    transaction.session.add(row)
    transaction.session.flush()


def discard(store: Store, hidden: Path) -> None:
    """The same, and every file is gone on return, drafts too; a refresh that is at work can write no more of what it read."""
    with store.transaction("consent-snapshot") as transaction:
        invalidate(transaction)
        transaction.record("consent.snapshot_discarded")
    folder = hidden / PLACE
    if folder.is_dir():
        reach("consent-snapshot:before-remove")
        with _held(folder / "in-use", fcntl.LOCK_EX):
            for path in [each for each in folder.iterdir() if each.is_dir()]:
                with suppress(FileNotFoundError):  # a refresh has just removed it
                    shutil.rmtree(path.rename(folder / secrets.token_hex(8)), ignore_errors=True)
            _sync(folder)
        reach("consent-snapshot:after-remove")


@dataclass(frozen=True, slots=True)
class _Made:
    """A draft that is whole. `epoch`: that of the database when it was read."""

    epoch: int
    events: int
    watermark: int
    newest: int
    digests: Mapping[str, str]


def _build(store: Store, folder: Path, draft: Path, progress: Progress) -> _Made:
    """Write the files of a copy into `draft`. Memory is bounded: DuckDB sorts beside the draft, and rows pass through in batches."""
    scratch = draft.with_suffix(".scratch")  # DuckDB makes `spill` in it when it needs that, but not `scratch` again
    scratch.mkdir(mode=0o700)
    try:
        with store.read() as session:
            row = session.get(ConsentSnapshotRow, 1) or ConsentSnapshotRow()
            last = _believed(folder, row, FILES)
            progress("read")
            with pq.ParquetWriter(scratch / "newer.parquet", SNAPSHOT, compression="lz4") as newer:
                for batch in events_after(session, last.watermark if last else 0):
                    newer.write_batch(batch)
        with duckdb.connect(config={"memory_limit": MEMORY, "temp_directory": str(scratch / "spill")}) as engine:
            engine.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
            engine.register("statuses", statuses())
            before = f"{last.events} UNION ALL BY NAME " if last else ""
            engine.execute(f"CREATE VIEW rows AS {before}{coded(_parquet(scratch / 'newer.parquet'))}")
            extent = "SELECT count(*), coalesce(max(id), 0), coalesce(max(received), 0) FROM rows"
            events, watermark, newest = engine.sql(extent).fetchall()[0]
            _write(engine, draft, progress)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return _Made(row.epoch, events, watermark, newest, {name: _digest(draft / name) for name in FILES})


def _write(engine: duckdb.DuckDBPyConnection, draft: Path, progress: Progress) -> None:
    """The four files, out of `rows`: every event, with the columns of `coded`."""
    progress("number")
    # whole numbers first, in their order: a range of them is then a range of ids
    distinct = f"SELECT subject, {KEY} AS key FROM (SELECT DISTINCT subject FROM rows)"
    engine.execute(f"CREATE TABLE subjects AS {distinct} ORDER BY key NULLS LAST, subject")
    words = []
    for kind in ("purpose", "jurisdiction"):
        each = f"SELECT DISTINCT {kind} FROM rows WHERE {kind} IS NOT NULL ORDER BY ALL"
        engine.execute(f"CREATE TABLE {kind}s AS {each}")
        words.append(f"SELECT '{kind}' AS kind, rowid AS place, {kind} AS word FROM {kind}s")
    _copy(engine, "SELECT subject, key, rowid::INTEGER AS id FROM subjects ORDER BY rowid", draft / SUBJECTS)
    _copy(engine, " UNION ALL ".join(words), draft / WORDS)
    progress("sort")
    batches = engine.sql(_SORTED).to_arrow_reader(1 << 20)
    # sorted numbers as differences: a quarter of the size and a tenth of the time of a dictionary that holds them all
    written: dict[str, Any] = {"compression": "zstd", "use_dictionary": ["purpose", "code", "until", "jurisdiction"]}
    with (
        pq.ParquetWriter(draft / STANDING, _STANDING, column_encoding={"ask": "DELTA_BINARY_PACKED"}, **written) as standing,
        pq.ParquetWriter(draft / TIMES, _TIMES, **written) as times,
    ):
        for table in _whole(batches):  # a row group parts no subject
            same = tied(*(table[name].to_numpy() for name in ("ask", "happened", "received")))
            standing.write_table(table.append_column("tied", pa.array(same)).select(_STANDING.names), len(table))
            times.write_table(table.select(_TIMES.names), len(table))


def _whole(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Sorted rows in tables of about `_GROUP` that hold all rows of each `ask` in them."""
    rest: list[pa.RecordBatch] = []
    for batch in batches:
        rest.append(batch)
        if sum(map(len, rest)) >= _GROUP:
            table = pa.Table.from_batches(rest).combine_chunks()
            ask = table["ask"].to_numpy()
            if cut := int(np.searchsorted(ask, ask[-1])):
                yield table.slice(0, cut)
                rest = table.slice(cut).to_batches()
    if rest:
        yield pa.Table.from_batches(rest).combine_chunks()


_SORTED = """
SELECT d.rowid::INTEGER AS ask, p.rowid::INTEGER AS purpose, r.code, r.until, r.noticed, r.guardian,
       coalesce(j.rowid, -1)::INTEGER AS jurisdiction, r.id, r.happened, r.received
FROM rows r JOIN subjects d USING (subject) JOIN purposes p USING (purpose) LEFT JOIN jurisdictions j ON j.jurisdiction = r.jurisdiction
ORDER BY d.rowid, r.happened, r.received, r.id
"""

_STANDING = pa.schema(
    [
        ("ask", pa.int32()),
        ("tied", pa.bool_()),
        ("purpose", pa.int32()),
        ("code", pa.int8()),
        ("until", pa.int64()),
        ("noticed", pa.bool_()),
        ("guardian", pa.bool_()),
        ("jurisdiction", pa.int32()),
    ]
)
_TIMES = pa.schema([("id", pa.int64()), ("happened", pa.int64()), ("received", pa.int64())])


def _parquet(file: Path) -> str:
    return f"read_parquet('{text(file)}')"


def _copy(engine: duckdb.DuckDBPyConnection, query: str, file: Path) -> None:
    engine.execute(f"COPY ({query}) TO '{text(file)}' (FORMAT parquet, COMPRESSION zstd)")


def _place(store: Store, folder: Path, draft: Path, made: _Made) -> bool:
    """Let a draft be the copy that is believed; False where events were rewritten since it was read."""
    reach("consent-snapshot:before-sync")
    for path in (*draft.iterdir(), draft):
        _sync(path)
    target = folder / secrets.token_hex(8)
    with _held(folder / "in-use", fcntl.LOCK_SH):  # not while everything is being discarded
        draft.rename(target)
    _sync(folder)
    reach("consent-snapshot:before-row")
    with store.transaction("consent-snapshot") as transaction:
        row = transaction.session.get(ConsentSnapshotRow, 1) or ConsentSnapshotRow()
        if row.epoch == made.epoch:
            row.folder, row.digests = target.name, json.dumps({"format": FORMAT, **made.digests})
            row.watermark, row.events, row.newest = made.watermark, made.events, made.newest
            transaction.session.add(row)
            transaction.record("consent.snapshot_taken", events=made.events)
    _clear(store, folder)
    return target.exists()


def _clear(store: Store, folder: Path) -> None:
    """Remove every folder but the one that is believed: earlier copies, and what crashes left."""
    with store.read() as session:
        row = session.get(ConsentSnapshotRow, 1)
    with _held(folder / "in-use", fcntl.LOCK_EX):
        for path in folder.iterdir():
            if path.is_dir() and (row is None or path.name != row.folder):
                shutil.rmtree(path, ignore_errors=True)


def _believed(folder: Path, row: ConsentSnapshotRow, files: Sequence[str]) -> Base | None:
    """The copy that the row names, if the files that will be read are those that were written."""
    target, digests = folder / row.folder, json.loads(row.digests)
    if not row.folder or digests.get("format") != FORMAT:
        return None
    try:
        with ThreadPoolExecutor(len(files)) as workers:
            found = workers.map(lambda name: _digest(target / name), files)
            if any(digest != digests.get(name) for name, digest in zip(files, found, strict=True)):
                return None
        words = pq.read_table(target / WORDS).sort_by("place")
        subjects = pq.read_metadata(target / SUBJECTS).num_rows
    except OSError:
        return None
    lists = [words.filter(pc.equal(words["kind"], kind))["word"].to_pylist() for kind in ("purpose", "jurisdiction")]
    return Base(target, row.watermark, subjects, (lists[0], lists[1]))


def _digest(file: Path) -> str:
    """SHA-256 of a file; looked at once a process, as long as nothing about it changes."""
    stat = file.stat()
    return _digest_of(file, (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))


@lru_cache(maxsize=16)
def _digest_of(file: Path, _state: tuple[int, ...]) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def forget_digests() -> None:
    """Look at every file anew, as another process would."""
    _digest_of.cache_clear()


@contextmanager
def _held(path: Path, how: int) -> Iterator[None]:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, how)
        yield
    finally:
        os.close(file)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
