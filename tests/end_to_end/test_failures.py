"""Bad documents, missing and broken files, a full disk, two at once: one clear error, the right exit code, nothing lost, nobody shown."""

from __future__ import annotations

import copy
import datetime as dt
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import engine.workspace
from governance.builds import Status
from tests.fakes import ZeroNoise
from tests.scenes import (
    ADS,
    CONTRACT,
    GROUPS,
    OFFICER,
    POLICY,
    RETURNERS,
    SUBJECTS,
    Ran,
    Shop,
    environment,
    purchases,
    run,
    write_csv,
    write_purchases,
)


def edited(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A document with another value at `a/b/c`; None takes the field out."""
    result = copy.deepcopy(document)
    *parents, last = path.split("/")
    place = result
    for key in parents:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return result


def one_error(ran: Ran, code: int) -> bool:
    """That exit code, nothing on stdout, one error on stderr, and no traceback."""
    return ran.code == code and ran.out == "" and ran.err.count("error:") == 1 and "Traceback" not in ran.err


class TestDocuments:
    @pytest.mark.parametrize(
        ("folder", "document", "path", "value", "words"),
        [
            ("segments", GROUPS, "purpose", "marketing.nonsense", ("purpose", "marketing.nonsense")),
            ("segments", GROUPS, "as_of", "yesterday", ("as_of", "yesterday")),
            ("segments", GROUPS, "as_of", None, ("as_of",)),
            ("segments", GROUPS, "colour", "red", ("colour",)),
            ("segments", GROUPS, "privacy", {"epsilon": -1}, ("epsilon", "-1")),
            ("segments", GROUPS, "privacy", {"epsilon": "much"}, ("epsilon", "much")),
            ("segments", GROUPS, "model", {"type": "magic"}, ("model", "magic")),
            ("segments", GROUPS, "model", {"type": "clusters", "k": 1}, ("k", "1")),
            ("segments", GROUPS, "label", RETURNERS["label"], ("label",)),
            ("segments", RETURNERS, "label", None, ("label",)),
            ("segments", RETURNERS, "model", {"type": "propensity"}, ("threshold", "top")),
            ("segments", GROUPS, "features/spend/bounds", [5, 1], ("bounds",)),
            ("segments", GROUPS, "features/spend/agg", "", ("agg",)),
            ("segments", GROUPS, "features", {}, ("features",)),
            ("segments", GROUPS, "dataset", "elsewhere", ("elsewhere", "shop")),
            ("segments", GROUPS, "policy", "../../etc/passwd", ("policy",)),
            ("segments", GROUPS, "name", "other", ("name", "other")),
            ("segments", GROUPS, "kind", "contract", ("kind",)),
            ("contracts", CONTRACT, "tables/purchases/columns/amount/type", "money", ("type", "money")),
            ("contracts", CONTRACT, "tables/purchases/columns/amount/category", "user.wallet", ("category", "user.wallet")),
            ("contracts", CONTRACT, "tables/purchases/event_time", "sold_on", ("event_time", "sold_on")),
            ("contracts", CONTRACT, "subject/registered_in", "nowhere", ("registered_in", "nowhere")),
            ("contracts", CONTRACT, "subject/max_subjects", 0, ("max_subjects", "0")),
            ("contracts", CONTRACT, "controller", None, ("controller",)),
            ("policies", POLICY, "budgets/cap", {"epsilon": 0}, ("epsilon", "0")),
            ("policies", POLICY, "cohort_floor", 1, ("cohort_floor", "1")),
            ("policies", POLICY, "fairness/purpose", "essential.service", ("fairness.purpose", "essential.service")),
            ("policies", POLICY, "approvals", {"required": True}, ("required",)),
        ],
    )
    def test_each_mistake_is_named_and_exits_2(
        self, shop: Shop, folder: str, document: dict[str, Any], path: str, value: Any, words: tuple[str, ...]
    ) -> None:
        name = "returners" if document is RETURNERS else "groups"
        file = shop.write(folder, edited(document, path, value), document["name"])
        failed = shop.run("plan", name)
        assert one_error(failed, 2), failed
        assert all(word in failed.err for word in words), failed.err
        if path not in ("dataset", "policy"):
            assert f"{folder}/{file.name}" in failed.err
        assert shop.ledger().reservations == ()

    @pytest.mark.parametrize("text", [b"", b"{", b"- a\n- b\n", b"\xff\xfe\x00", b"name: [", b"a: &x [*x]\n", b"name: a\nname: b\n"])
    def test_what_is_no_document_exits_2(self, shop: Shop, text: bytes) -> None:
        (shop.root / "segments" / "groups.yaml").write_bytes(text)
        failed = shop.run("plan", "groups")
        assert one_error(failed, 2) and "segments/groups.yaml" in failed.err

    def test_all_mistakes_come_at_once_each_with_its_line(self, shop: Shop) -> None:
        document = edited(edited(GROUPS, "purpose", "nonsense"), "privacy", {"epsilon": -1})
        lines = shop.write("segments", document).read_text().splitlines()
        failed = shop.run("plan", "groups").err
        for beginning in ("purpose:", "  epsilon:"):
            (number,) = [place for place, line in enumerate(lines, 1) if line.startswith(beginning)]
            assert f"segments/groups.yaml:{number}" in failed

    def test_policy_check_reads_every_document_and_exits_2_if_one_is_bad(self, shop: Shop) -> None:
        assert {row["state"] for row in shop.run("policy", "check", "--json").data["documents"]} == {"ok"}
        shop.write("segments", edited(GROUPS, "purpose", "nonsense"))
        failed = shop.run("policy", "check", "--json")
        states = {row["document"]: row["state"] for row in failed.data["documents"]}
        assert failed.code == 2 and "nonsense" in states["segments/groups.yaml"] and states["segments/returners.yaml"] == "ok"

    @pytest.mark.parametrize(
        "agg",
        [
            "count(nonsense)",
            "nonsense(amount)",
            "amount",
            "sum(amount); drop table x",
            "(select max(amount) from purchases)",
            "sum(amount) over ()",
            "max(purchases)",
            "read_csv('/etc/passwd')",
            "sum(amount",
            "count(distinct customer, street)",
        ],
    )
    def test_a_bad_expression_exits_2_and_names_the_feature(self, shop: Shop, agg: str) -> None:
        shop.write("segments", edited(GROUPS, "features/spend/agg", agg))
        failed = shop.run("plan", "groups")
        assert one_error(failed, 2) and "spend" in failed.err, failed

    def test_a_table_or_attribute_that_the_contract_lacks_exits_2_or_3(self, shop: Shop) -> None:
        shop.write("segments", edited(GROUPS, "features/spend/table", "invoices"))
        failed = shop.run("plan", "groups")
        assert failed.code in (2, 3) and "invoices" in failed.err
        shop.write("segments", edited(RETURNERS, "fairness", [{"table": "people", "column": "shoe_size"}]))
        failed = shop.run("plan", "returners")
        assert one_error(failed, 2) and "people.shoe_size" in failed.err

    @pytest.mark.parametrize(
        ("path", "value", "word"),
        [
            ("tables/purchases/columns/bought_on/type", "text", "bought_on"),
            ("tables/people/retention", "365d", "people"),
        ],
    )
    def test_a_contract_that_contradicts_itself_exits_2(self, shop: Shop, path: str, value: str, word: str) -> None:
        shop.write("contracts", edited(CONTRACT, path, value))
        shop.write("segments", edited(GROUPS, "features/old", {"table": "people", "agg": "count(*)", "bounds": [0, 9]}))
        shop.write("segments", GROUPS) if "people" not in path else None
        failed = shop.run("build", "groups")
        assert one_error(failed, 2) and word in failed.err, failed
        assert shop.ledger().reservations == ()

    def test_more_subjects_than_the_contract_allows_costs_no_training(self, shop: Shop) -> None:
        """Found by the noisy count, before anything is spent on training."""
        shop.write("contracts", edited(CONTRACT, "subject/max_subjects", 1000))
        failed = shop.run("build", "groups")
        assert failed.code in (2, 3) and "max_subjects" in failed.err, failed
        assert len(shop.ledger().draws) == 1  # the snapshot


class TestSources:
    @pytest.mark.parametrize(
        "damage",
        [
            lambda file: file.unlink(),
            lambda file: file.write_bytes(file.read_bytes()[:-100]),
            lambda file: file.write_bytes(file.read_bytes()[:5000]),
            lambda file: file.write_bytes(b""),
            lambda file: (file.unlink(), file.mkdir()),
        ],
        ids=["missing", "truncated", "half", "empty", "folder"],
    )
    def test_a_broken_parquet_file_is_one_clear_error(self, shop: Shop, damage: Callable[[Path], object]) -> None:
        damage(shop.root / "data" / "purchases.parquet")
        failed = shop.run("build", "groups")
        there = (shop.root / "data" / "purchases.parquet").is_file()
        assert one_error(failed, 1 if there else 2) and "purchases.parquet" in failed.err
        assert shop.ledger().reservations == () and shop.verify() == 0

    def test_a_file_whose_rows_are_damaged_stops_the_build_and_shows_nobody(self, shop: Shop) -> None:
        """The metadata is whole, so that planning succeeds; reading then fails with a fixed text."""
        file = shop.root / "data" / "purchases.parquet"
        raw = bytearray(file.read_bytes())
        raw[2000:-20000] = bytes(len(raw) - 22000)
        file.write_bytes(raw)
        failed = shop.run("build", "groups")
        assert one_error(failed, 1) and "person-" not in failed.err
        assert all("reserved" not in row for row in shop.ledger().reservations)
        assert shop.verify() == 0

    def test_a_file_without_a_column_of_the_contract_is_one_clear_error(self, shop: Shop) -> None:
        pq.write_table(purchases().drop_columns(["amount"]), shop.root / "data" / "purchases.parquet")
        failed = shop.run("build", "groups")
        assert one_error(failed, 1) and "amount" in failed.err and "purchases" in failed.err
        assert shop.ledger().reservations == ()

    def test_a_source_that_goes_missing_between_plan_and_build_stops_it(self, shop: Shop) -> None:
        plan = shop.run("plan", "groups", "--json").data["plan"]
        (shop.root / "data" / "purchases.parquet").unlink()
        assert one_error(shop.run("build", "groups", "--plan", plan), 2)

    def test_csv_gives_what_parquet_gives(self, shop: Shop) -> None:
        whole = shop.build("groups", ZeroNoise()).facts["released_model"]
        write_purchases(shop.root / "data" / "purchases.csv")
        shop.write("contracts", edited(CONTRACT, "tables/purchases/source", "data/purchases.csv"))
        assert shop.build("groups", ZeroNoise()).facts["released_model"] == whole

    def test_a_source_pattern_or_another_format_is_refused(self, shop: Shop) -> None:
        for source in ("data/*.parquet", "data/purchases.xlsx"):
            shop.write("contracts", edited(CONTRACT, "tables/purchases/source", source))
            assert one_error(shop.run("plan", "groups"), 2)


MARKER = "person-marked"
VALUE = "424242"


def spoilt(table: pa.Table) -> pa.Table:
    """The purchases as text, with every kind of bad row, some of them by somebody who can be recognised."""
    text = pa.table({name: table[name].cast(pa.string()) for name in table.column_names})
    fine = dict.fromkeys(text.column_names, "1") | {"customer": MARKER, "bought_on": "2025-03-01", "basket": VALUE, "street": VALUE}
    bad = [
        {"weight": "NaN"},
        {"weight": "inf"},
        {"weight": "-inf"},
        {"weight": "1e308"},
        {"weight": f"heavy {VALUE}"},
        {"amount": "NaN"},
        {"amount": f"{VALUE}{VALUE}{VALUE}"},
        {"amount": f"-{VALUE}"},
        {"amount": f"free {VALUE}"},
        {"amount": None},
        {"bought_on": "9999-12-31"},
        {"bought_on": "0001-01-01"},
        {"bought_on": "2025-02-31"},
        {"bought_on": f"in {VALUE}"},
        {"bought_on": None},
        {"customer": None},
        {"customer": ""},
        {"customer": "' OR 1=1 --"},
        {"customer": SUBJECTS[0], "weight": "NaN", "amount": "1e999"},
        {},
        {},
        {"weight": None, "street": None, "basket": None},
    ]
    return pa.concat_tables([text, pa.Table.from_pylist([fine | row for row in bad], schema=text.schema)])


HEAVY = {"table": "purchases", "agg": "sum(weight * weight)", "bounds": [0, 5000], "scale": "log"}


class TestBadValues:
    @pytest.fixture
    def pair(self, shop: Shop, tmp_path: Path) -> tuple[Shop, Shop]:
        """The same shop with clean rows, and with bad rows beside them; `person-marked` has consented in both."""
        write_csv(
            file := tmp_path / "more.csv",
            ("subject", "purpose", "status", "event_time"),
            [(MARKER, ADS, "given", "2025-01-01T00:00:00Z")],
        )
        assert shop.run("consent", "import", str(file)).code == 0
        for segment in (GROUPS, RETURNERS):
            shop.write("segments", edited(segment, "features/heavy", HEAVY))
        other = shop.copy(tmp_path / "spoilt")
        text = purchases()
        pq.write_table(
            pa.table({name: text[name].cast(pa.string()) for name in text.column_names}), shop.root / "data" / "purchases.parquet"
        )
        pq.write_table(spoilt(text), other.root / "data" / "purchases.parquet")
        return shop, other

    @pytest.mark.slow
    @pytest.mark.parametrize("segment", ["groups", "returners"])
    def test_bad_rows_never_fail_a_build_and_show_nobody(self, pair: tuple[Shop, Shop], segment: str) -> None:
        """The same exit code, and the same words around noisy numbers, with bad rows and without."""
        clean, dirty = (shop.run("build", segment) for shop in pair)
        assert (clean.code, clean.err) == (0, dirty.err) and dirty.code == 0
        for ran in (clean, dirty):
            assert MARKER not in ran.out + ran.err and VALUE not in ran.out + ran.err
        for shop in pair:
            report = (shop.root / "reports" / f"{segment}.html").read_text()
            assert MARKER not in report and VALUE not in report

    @pytest.mark.parametrize(
        "lines",
        [
            f"{MARKER},1,2,3,4,5,6,7,8,9\r\n{MARKER}\r\n\r\n{MARKER};2025-03-01;{VALUE}\r\n",
            f'{MARKER},2025-03-01,"unfinished {VALUE}\r\n',
            f"{MARKER},2025-03-01,{VALUE},1,1,1\n",
        ],
        ids=["split", "quote", "newline"],
    )
    def test_strict_policies_and_csv_bear_bad_rows_too(self, pair: tuple[Shop, Shop], lines: str) -> None:
        _, dirty = pair
        table = pq.read_table(dirty.root / "data" / "purchases.parquet")
        rows = [["" if value is None else value for value in row.values()] for row in table.to_pylist()]
        write_csv(dirty.root / "data" / "purchases.csv", table.column_names, rows)
        with (dirty.root / "data" / "purchases.csv").open("ab") as file:
            file.write(lines.encode())
        dirty.write("contracts", edited(CONTRACT, "tables/purchases/source", "data/purchases.csv"))
        dirty.write("policies", edited(POLICY, "strict", True))
        assert dirty.build("groups", ZeroNoise()).status is Status.QUARANTINED

    def test_one_bad_subject_moves_one_count_by_one(self, pair: tuple[Shop, Shop]) -> None:
        """Without noise the two differ by the one subject who was added, so nothing else changed."""
        sizes = [sum(part["size"] for part in shop.build("groups", ZeroNoise()).facts["parts"]) for shop in pair]
        assert sizes[1] - sizes[0] == pytest.approx(1, abs=1e-3)


class TestErrorsShowNobody:
    def test_a_fault_inside_is_a_fixed_text_and_the_rest_stays_with_the_owner(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_arguments: object) -> None:
            raise ValueError(f"{MARKER} bought {VALUE}")

        monkeypatch.setattr("engine.pipeline.learn", fail)
        for options in ((), ("--json",)):
            failed = shop.run("build", "groups", *options)
            assert failed.code == 1 and "ValueError" in failed.err
            assert MARKER not in failed.out + failed.err and VALUE not in failed.out + failed.err
        kept = shop.root / ".consentric" / "faults.log"
        assert kept.stat().st_mode & 0o077 == 0 and MARKER in kept.read_text()
        assert MARKER not in str(shop.log()) and shop.newest("groups").status is Status.FAILED

    @pytest.mark.parametrize(
        "row",
        [
            (MARKER, "marketing.nonsense", "given", "2025-01-01"),
            (MARKER, ADS, "perhaps", "2025-01-01"),
            (MARKER, ADS, "given", "tomorrow"),
            (MARKER, ADS, "given", "2999-01-01"),
            (MARKER, "*", "given", "2025-01-01"),
        ],
    )
    def test_a_bad_consent_row_is_told_by_number_and_never_by_subject(self, shop: Shop, tmp_path: Path, row: tuple[str, ...]) -> None:
        good = (MARKER, ADS, "given", "2025-01-01")
        write_csv(file := tmp_path / "bad.csv", ("subject", "purpose", "status", "event_time"), [good, row])
        before = shop.run("consent", "stats", "--json", by=OFFICER).data
        failed = shop.run("consent", "import", str(file))
        assert one_error(failed, 2) and "row 2" in failed.err and MARKER not in failed.err
        assert shop.run("consent", "stats", "--json", by=OFFICER).data == before

    def test_the_same_file_is_not_imported_twice_by_mistake(self, shop: Shop) -> None:
        file = str(shop.root / "data" / "consents.csv")
        assert one_error(shop.run("consent", "import", file), 2)
        assert shop.run("consent", "import", file, "--dry-run", "--again", "--json").data["imported"] is False
        assert shop.run("consent", "import", file, "--again").code == 0


def at_once(shop: Shop, *commands: tuple[str, ...]) -> list[int]:
    """Exit codes of commands in processes of their own, started together."""
    words = [sys.executable, "-W", "ignore", "-m", "engine.cli"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = [subprocess.Popen([*words, *command], env=environment(shop.root), **quiet) for command in commands]
    return [each.wait(timeout=120) for each in running]


class TestTwoAtOnce:
    @pytest.mark.slow
    def test_both_succeed_where_the_budget_allows(self, shop: Shop) -> None:
        assert at_once(shop, ("build", "groups"), ("build", "groups")) == [0, 0]
        ledger = shop.ledger()
        assert len(ledger.snapshots) == 1 and len(ledger.reservations) == 3  # one snapshot for both
        assert all("settled" in row for row in ledger.reservations)
        assert shop.verify() == 0 and shop.run("doctor").code == 0

    @pytest.mark.slow
    def test_the_second_exits_4_where_it_does_not_and_nothing_is_overspent(self, shop: Shop) -> None:
        shop.write("segments", GROUPS | {"privacy": {"epsilon": 6.0}})
        assert sorted(at_once(shop, ("build", "groups"), ("build", "groups"))) == [0, 4]
        accounts = shop.run("budget", "--json").data["accounts"]
        assert all(account["spent"] <= account["epsilon"] for account in accounts)
        assert len(shop.ledger().reservations) == 2 and shop.verify() == 0


class TestFullDisk:
    @pytest.fixture
    def small(self, made: Shop, tmp_path: Path) -> Iterator[Shop]:
        """A workspace on a disk of its own, with little room left."""
        disk = tmp_path / "disk"
        disk.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)], capture_output=True, check=False)
        if mounted.returncode:
            pytest.skip("a disk of its own needs the right to mount a tmpfs")
        try:
            yield made.copy(disk / "shop")
        finally:
            subprocess.run(["umount", "-l", str(disk)], check=True)

    def fill(self, shop: Shop, leave: int) -> Path:
        """Take all but `leave` bytes."""
        filler = shop.root.parent / "filler"
        free = os.statvfs(shop.root)
        filler.write_bytes(b"\0" * max(0, free.f_bavail * free.f_frsize - leave))
        return filler

    @pytest.mark.slow
    @pytest.mark.parametrize("leave", [0, 40_000, 80_000, 120_000, 200_000, 300_000])
    def test_a_full_disk_is_one_error_and_nothing_is_lost(self, small: Shop, leave: int, monkeypatch: pytest.MonkeyPatch) -> None:
        assert small.run("consent", "withdraw", SUBJECTS[0]).code == 0
        entries = len(small.log())
        filler = self.fill(small, leave)
        failed = small.run("build", "groups")
        assert failed.code == 1 or (leave and failed.code == 0), failed
        if failed.code:
            assert one_error(failed, 1), failed
        filler.unlink()
        later = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1)  # nobody waits for a snapshot that was cut short
        monkeypatch.setattr(engine.workspace, "now", lambda: later)
        assert small.verify() == 0 and len(small.log()) >= entries
        small.run("doctor", "--repair")
        assert small.run("doctor").code == 0
        assert small.run("build", "groups").code == 0
        assert small.run("approve", small.newest("groups").id, by=OFFICER).code == 0
        assert small.whole("groups") and not small.pseudonyms([SUBJECTS[0]]) & small.members("groups")

    def test_an_export_that_does_not_fit_leaves_nothing_behind(self, out: Shop, tmp_path: Path) -> None:
        """By a limit on the size of files, which needs no disk."""
        here = tmp_path / "list.csv"
        size = resource.getrlimit(resource.RLIMIT_FSIZE)
        program = (
            "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
            f"resource.setrlimit(resource.RLIMIT_FSIZE, (20000, {size[1]})); from engine.cli import main; main()"
        )
        words = [sys.executable, "-W", "ignore", "-c", program, "segments", "export", "groups", "--to", str(here)]
        ended = subprocess.run(words, env=environment(out.root), capture_output=True, text=True, check=False)
        assert ended.returncode == 1 and "Traceback" not in ended.stderr
        assert not list(tmp_path.glob("*.csv")) and not list(tmp_path.glob(".*"))


class TestWorkspace:
    def test_outside_a_workspace_is_a_usage_error(self, tmp_path: Path) -> None:
        assert one_error(run("plan", "groups", "-w", str(tmp_path)), 2)

    def test_making_one_twice_is_a_usage_error(self, shop: Shop) -> None:
        assert one_error(run("init", str(shop.root)), 2)

    @pytest.mark.parametrize("text", ["[workspace", "[engine]\nthreads = 0\n", "[roles]\nofficers = 3\n"])
    def test_bad_settings_are_a_usage_error(self, shop: Shop, text: str) -> None:
        (shop.root / "consentric.toml").write_text(text)
        assert one_error(shop.run("audit", "log"), 2)

    @pytest.mark.parametrize("key", ["log.key", "log.vkey", "split.key"])
    def test_a_missing_or_open_key_is_a_fault_with_a_remedy(self, built: Shop, key: str) -> None:
        file = built.root / ".consentric" / "keys" / key
        file.chmod(0o644)
        failed = built.run("doctor", "--json")
        assert failed.code == 1 and any(key in check["detail"] and check["remedy"] for check in failed.data["checks"])
        file.unlink()
        assert built.run("build", "returners").code == 1
        assert built.run("doctor").code == 1

    def test_a_lost_database_or_checkpoint_breaks_integrity(self, built: Shop) -> None:
        (built.root / ".consentric" / "checkpoint").unlink()
        assert built.verify() == 6
        assert built.run("plan", "groups").code in (0, 1, 6)
