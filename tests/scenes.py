"""A small shop for the tests that run everything: generated purchases, consents and documents, and commands run in this process.

`Shop.make` writes a workspace of 3,000 customers, of whom four in five consent; `groups` clusters them, `returners` says who
buys again, with fairness by age. `Shop.run` is the command line without a new interpreter, which takes most of a second.
"""

from __future__ import annotations

import csv
import datetime as dt
import gc
import json
import os
import shutil
import threading
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from sqlmodel import select

from audit import log as audit_log
from audit import passport as passports
from engine import pipeline
from engine.bench import Bench
from engine.settings import FILE
from engine.workspace import Workspace
from governance import budget, builds, consent
from governance.builds import Build, Status
from governance.consent import ConsentEvent
from governance.noise import NoiseSource
from governance.principals import UNSAFE_VARIABLE
from governance.pseudonyms import pseudonyms
from governance.roles import Role
from governance.suppression import FOLDER_VARIABLE
from governance.tables import DrawRow, ReservationRow, SnapshotRow

with warnings.catch_warnings():  # typer 0.20 imports names that click 8.5 deprecates
    warnings.simplefilter("ignore", DeprecationWarning)
    import typer.main
    from click.testing import CliRunner

    from engine.cli import app

COMMAND = typer.main.get_command(app)

ADS = "marketing.advertising.first_party.targeted"
FAIR = "analytics.reporting"
ANALYST, OFFICER, OTHER, AUDITOR = "ana", "olga", "otto", "aura"
ROLES = {Role.ANALYST: (ANALYST,), Role.OFFICER: (OFFICER, OTHER), Role.AUDITOR: (AUDITOR,), Role.ADMINISTRATOR: (ANALYST,)}
"""As in a small house: whoever builds keeps the machine too, and two others decide."""

CUSTOMERS = 3000
SUBJECTS = tuple(f"person-{number:05d}" for number in range(CUSTOMERS))
REFUSING = frozenset(SUBJECTS[4::5])
"""One in five says no; everybody else consents before `as_of`."""

AS_OF = dt.date(2025, 7, 1)
_ASKED = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)

CONTRACT: dict[str, Any] = {
    "kind": "contract",
    "name": "shop",
    "controller": "Shop Ltd",
    "jurisdiction": "eu",
    "subject": {"key": "customer", "namespace": "loyalty", "registered_in": "purchases", "max_subjects": 5000},
    "tables": {
        "purchases": {
            "source": "data/purchases.parquet",
            "event_time": "bought_on",
            "duplicates": "drop",
            "columns": {
                "customer": {"category": "user.unique_id.pseudonymous", "sensitivity": "pseudonymous"},
                "bought_on": {"category": "user.behavior.purchase_history", "type": "date"},
                "basket": {"category": "user.behavior.purchase_history"},
                "amount": {"category": "user.behavior.purchase_history", "type": "decimal(10,2)", "bounds": [0, 500], "missing": 0},
                "weight": {"category": "user.behavior.purchase_history", "type": "double", "bounds": [0, 50]},
                "street": {"category": "user.location.imprecise"},
            },
        },
        "people": {
            "source": "data/people.parquet",
            "columns": {
                "customer": {"category": "user.unique_id.pseudonymous", "sensitivity": "pseudonymous"},
                "age": {"category": "user.demographic.age_range", "domain": ["young", "old"]},
            },
        },
    },
}
POLICY: dict[str, Any] = {
    "kind": "policy",
    "name": "rules",
    "purposes": {ADS: {"basis": {"eu": "consent"}}, FAIR: {"basis": {"default": "opt_out"}}},
    "rules": [
        {
            "id": "buys",
            "effect": "permit",
            "categories": ["user.behavior.purchase_history"],
            "purposes": [ADS],
            "reason": "the terms say so",
        },
        {"id": "key", "effect": "permit", "categories": ["user.unique_id.pseudonymous"], "reason": "rows of one customer belong together"},
        {"id": "age-for-fairness", "effect": "fairness_only", "categories": ["user.demographic.*"], "reason": "age checks fairness"},
        {
            "id": "no-location",
            "effect": "forbid",
            "categories": ["user.location.*"],
            "reason": "where somebody shops says where they live",
            "legal": "GDPR art. 5(1)(c)",
            "remedy": "leave the column out",
        },
    ],
    "budgets": {
        "cap": {"epsilon": 9},
        "purposes": {ADS: {"epsilon": 8, "period": "lifetime"}},
        "snapshot": {"interval": "3650d", "epsilon": 0.5},
    },
    "cohort_floor": 100,
    "fairness": {"purpose": FAIR, "on_fail": "approve", "on_inconclusive": "approve"},
    "approvals": {"required": 1},
    "destinations": {"mail": "our own letters"},
}
GROUPS: dict[str, Any] = {
    "kind": "segment",
    "name": "groups",
    "purpose": ADS,
    "dataset": "shop",
    "policy": "rules",
    "as_of": AS_OF,
    "features": {
        "recency": {"table": "purchases", "agg": "days_since(max(bought_on))", "bounds": [0, 181]},
        "frequency": {"table": "purchases", "agg": "count(*)", "bounds": [0, 40], "scale": "log"},
        "spend": {"table": "purchases", "agg": "avg(amount)", "bounds": [0, 500], "scale": "log"},
    },
    "model": {"type": "clusters", "k": 3},
    "privacy": {"epsilon": 2.0},
    "output": {"format": "parquet", "destination": "mail"},
}
RETURNERS: dict[str, Any] = {
    **GROUPS,
    "name": "returners",
    "label": {"table": "purchases", "agg": "count(*) > 0", "after": "60d"},
    "model": {"type": "propensity", "top": 0.3},
    "fairness": [{"table": "people", "column": "age"}],
    "output": {"format": "csv", "destination": "mail"},
}


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Its result, with --json."""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Ledger:
    """All rows of the ledger, as text, so that two moments can be compared."""

    reservations: tuple[str, ...]
    draws: tuple[str, ...]
    snapshots: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shop:
    """A workspace at `root`, marked as a demo so that tests may act as anybody."""

    root: Path

    @classmethod
    def make(cls, root: Path, database: str | None = None) -> Shop:
        """Documents, data and consents; nothing is planned or built. `database`: the URL of an empty one, instead of SQLite."""
        kept = {FOLDER_VARIABLE: "{workspace}.outside"}  # a sibling, so that copies have one of their own
        placed = {"CONSENTRIC_DATABASE_URL": database} if database else {}
        Workspace.create(root, demo=True, roles=ROLES, environment={UNSAFE_VARIABLE: ANALYST, **kept, **placed})
        shop = cls(root)
        if database:
            text = (root / FILE).read_text()
            (root / FILE).write_text(text.replace("sqlite:///{workspace}/.consentric/metadata.db", database))
        shop.furnish()
        shop.run("consent", "import", str(root / "data" / "consents.csv"))
        return shop

    def furnish(self) -> None:
        """Write documents and data, but import no consent."""
        write_purchases(self.root / "data" / "purchases.parquet")
        pq.write_table(
            pa.table({"customer": SUBJECTS, "age": ["young" if i % 2 else "old" for i in range(CUSTOMERS)]}),
            self.root / "data" / "people.parquet",
        )
        write_consents(self.root / "data" / "consents.csv")
        for folder, document in (("contracts", CONTRACT), ("policies", POLICY), ("segments", GROUPS), ("segments", RETURNERS)):
            self.write(folder, document)

    def copy(self, to: Path) -> Shop:
        """The same workspace elsewhere."""
        if (self.root / ".consentric" / "metadata.db-wal").exists():
            collect()  # ends the connections of earlier commands of this process, and so the journal
        shutil.copytree(self.root, to)
        if self.outside.exists():
            shutil.copytree(self.outside, Shop(to).outside)
        return Shop(to)

    @property
    def outside(self) -> Path:
        """What is kept outside the workspace."""
        return self.root.with_name(f"{self.root.name}.outside")

    def run(self, *words: str, by: str = ANALYST, env: Mapping[str, str] | None = None) -> Ran:
        """A command in this workspace, as `by`."""
        return run(*words, env={"CONSENTRIC_WORKSPACE": str(self.root), UNSAFE_VARIABLE: by, **(env or {})})

    def workspace(self, by: str = ANALYST) -> Workspace:
        """Opened as `by`."""
        return Workspace.find(self.root, {UNSAFE_VARIABLE: by}).open()

    def build(self, segment: str, noise: NoiseSource, by: str = ANALYST) -> Build:
        """A build with injected noise."""
        return pipeline.build(Bench(self.workspace(by), noise, lambda _step: None), segment)

    def write(self, folder: str, document: Mapping[str, Any], name: str | None = None) -> Path:
        """Put a document in its place."""
        path = self.root / folder / f"{name or document['name']}.yaml"
        path.write_text(yaml.safe_dump(dict(document), sort_keys=False))
        return path

    def status(self, build: str) -> Status:
        """Of a build."""
        with self.workspace().store.read() as session:
            found = builds.find_build(session, builds.BuildId(build))
        assert found is not None
        return found.status

    def newest(self, segment: str) -> Build:
        """The newest build of a segment."""
        with self.workspace().store.read() as session:
            return builds.builds(session, segment)[0]

    def ledger(self) -> Ledger:
        """As it is now."""
        with self.workspace().store.read() as session:
            reservations, draws, snapshots = (
                tuple(sorted(repr(row) for row in session.exec(select(kind)))) for kind in (ReservationRow, DrawRow, SnapshotRow)
            )
        return Ledger(reservations, draws, snapshots)

    def log(self) -> list[dict[str, Any]]:
        """Every entry but looks at the log, of which this is one."""
        entries: list[dict[str, Any]] = self.run("audit", "log", "--last", "0", "--json", by=AUDITOR).data["entries"]
        return [entry for entry in entries if entry["action"] != "log.read"]

    def appoint(self, **lists: Sequence[str]) -> None:
        """Write who is what into consentric.toml: `officers=[...]` and so on."""
        file = self.root / FILE
        lines = [line for line in file.read_text().splitlines() if line.split(" ")[0] not in lists]
        at = lines.index("[roles]") + 1
        lines[at:at] = [f"{key} = {json.dumps([*names])}" for key, names in lists.items()]
        file.write_text("\n".join(lines) + "\n")

    def spent(self) -> float:
        """ε spent of the cap."""
        workspace = self.workspace()
        with workspace.store.read() as session:
            return budget.balances(session, workspace.contract("shop"), workspace.policy("rules"), workspace.store.clock())[0].spent

    def inside(self, build: str) -> list[str]:
        """Subjects in the membership that a build keeps out of everybody's reach."""
        table = pq.read_table(self.root / ".consentric" / "builds" / build / "membership.parquet")
        return table["subject"].to_pylist()  # type: ignore[no-any-return]

    def withdraw(self, subjects: Sequence[str]) -> None:
        """Everything, for many at once."""
        with self.workspace().store.transaction("consent") as write:
            consent.append(write, [ConsentEvent(subject, "*", consent.Status.WITHDRAWN, write.now) for subject in subjects])

    def pseudonyms(self, subjects: Iterable[str], purpose: str = ADS) -> set[str]:
        """By the workspace's key."""
        return set(pseudonyms(pa.array([*subjects], pa.string()), self.workspace().keys.create_pseudonym(purpose)).to_pylist())

    def members(self, segment: str) -> set[str]:
        """Pseudonyms that `segments members` shows."""
        return {row["pseudonym"] for row in self.run("segments", "members", segment, "--json").data["members"]}

    def whole(self, segment: str) -> bool:
        """Whether the newest release is all there: status, log, passport, list and what `members` shows agree."""
        with self.workspace().store.read() as session:
            build = builds.builds(session, segment, Status.RELEASED)[0]
        members = self.members(segment)
        folder = self.root / ".consentric" / "releases" / build.id
        with self.workspace().store.read() as session:
            facts = [e.parsed["facts"] for e in audit_log.entries(session.connection()) if e.parsed["action"] == "build.released"]
        logged = [each["passport"] for each in facts if each["build"] == build.id]
        raw = (folder / "passport.json").read_bytes()
        passport, _ = passports.read(raw, self.workspace().keys.signer.verifier)
        verified = self.run("audit", "verify", str(folder / "passport.json")).code == 0
        return verified and logged == [passports.digest(passport)] and listed(folder / f"membership.{build.facts['format']}") == members

    def verify(self) -> int:
        """Exit code of `audit verify`."""
        return self.run("audit", "verify").code


ALONE = frozenset({"--repair", "erase", "replay", "rotate", "retire", "restore", "migrate"})
"""Words of commands that must be alone in a workspace."""


_COLLECTING = threading.Lock()


def run(*words: str, env: Mapping[str, str] | None = None) -> Ran:
    """A command of the command line, in this process."""
    alone = bool(ALONE & {*words})
    if alone:
        collect()  # gives back what earlier commands of this process hold in use
    result = CliRunner().invoke(COMMAND, list(words), env=dict(env or {}), prog_name="consentric")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    ran = Ran(result.exit_code, result.stdout, result.stderr)
    if alone:
        del result
        collect()
    return ran


def collect() -> None:
    """Wait for a collection: one that is asked for while another thread's is at work is none."""
    with _COLLECTING:
        gc.collect()


def settle() -> None:
    """Spare later collections, of which tests of commands need many, whatever was imported so far."""
    gc.collect()
    gc.freeze()


def listed(file: Path) -> set[str]:
    """Pseudonyms in a file that left."""
    if file.suffix == ".parquet":
        return set(pq.read_table(file)["pseudonym"].to_pylist())
    with file.open() as lines:
        return {row["pseudonym"] for row in csv.DictReader(lines)}


def environment(root: Path, by: str = ANALYST) -> dict[str, str]:
    """For a command in a process of its own."""
    here = str(Path(__file__).parents[1])
    return {**os.environ, "PYTHONPATH": here, "CONSENTRIC_WORKSPACE": str(root), UNSAFE_VARIABLE: by}


def purchases(seed: int = 7) -> pa.Table:
    """About 24,000 purchases in three habits; who buys often is likelier to buy after `AS_OF` too."""
    draw = np.random.default_rng(seed)
    habit = np.arange(CUSTOMERS) % 3
    often = np.clip(draw.poisson(np.array([2, 6, 14])[habit]), 1, 39)
    who = np.repeat(np.arange(CUSTOMERS), often)
    day = (np.array([60, 120, 175])[habit][who] * draw.beta(4, 1, len(who))).astype(int)
    spent = draw.gamma(4, np.array([10, 40, 6])[habit][who]).round(2)
    again = np.flatnonzero(draw.random(CUSTOMERS) < np.array([0.1, 0.3, 0.7])[habit])
    who, day = np.concatenate([who, again]), np.concatenate([day, 181 + draw.integers(0, 50, len(again))])
    spent = np.concatenate([spent, np.full(len(again), 20.0)])
    start = np.datetime64("2025-01-01")
    return pa.table(
        {
            "customer": pa.array([SUBJECTS[i] for i in who]),
            "bought_on": pa.array(start + day.astype("timedelta64[D]")),
            "basket": pa.array([f"basket-{i}" for i in range(len(who))]),
            "amount": pa.array([f"{min(value, 499):.2f}" for value in spent]).cast(pa.decimal128(10, 2)),
            "weight": pa.array(draw.gamma(2, 2, len(who))),
            "street": pa.array([f"street {i % 97}" for i in who]),
        }
    )


def write_purchases(path: Path) -> None:
    """The purchases as Parquet or CSV."""
    table = purchases()
    if path.suffix == ".parquet":
        pq.write_table(table, path)
        return
    write_csv(path, table.column_names, [list(map(str, row.values())) for row in table.to_pylist()])


def write_csv(path: Path, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A CSV file with a header."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(rows)


def write_consents(path: Path, subjects: Sequence[str] = SUBJECTS) -> None:
    """Yes or no to advertising, and a notice of the fairness audit, from each of `subjects`."""
    rows = []
    for subject in subjects:
        rows.append((subject, ADS, "refused" if subject in REFUSING else "given", _ASKED.isoformat(), ""))
        rows.append((subject, FAIR, "requested", _ASKED.isoformat(), "v1"))
    write_csv(path, ("subject", "purpose", "status", "event_time", "notice_version"), rows)
