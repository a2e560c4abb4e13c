"""The list outside: it knows subjects by HMAC alone, survives what crashes leave, and refuses to lie inside the workspace."""

from __future__ import annotations

import datetime as dt
import os
import resource
from pathlib import Path

import pytest

from governance.consent import ConsentEvent, Status
from governance.suppression import KEY, LIST, Entry, Kind, Suppression, SuppressionError, check_outside, default_location
from tests.ledgers import ADS

AT = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
LATER = AT + dt.timedelta(days=1)


def made(folder: Path) -> Suppression:
    found = Suppression(folder / "outside", "consentric/shop")
    found.create()
    return found


def event(subject: str, at: dt.datetime, status: Status = Status.GIVEN, purpose: str = ADS) -> ConsentEvent:
    return ConsentEvent(subject, purpose, status, at)


def test_marks_whom_it_was_told_of_and_nobody_else(tmp_path: Path) -> None:
    listed = made(tmp_path)
    assert not listed.marks("anna")
    listed.add("anna", Kind.ERASED, AT)
    listed.add("otto", Kind.OBJECTED, AT, ADS)
    again = Suppression(tmp_path / "outside", "consentric/shop")
    assert again.entries("anna") == (Entry(Kind.ERASED, "*", AT),) and again.entries("otto") == (Entry(Kind.OBJECTED, ADS, AT),)
    assert again.marks("anna") and not again.marks("ann") and not again.marks("")
    assert set(again.among(["anna", "berta", "otto"])) == {"anna", "otto"}
    assert not Suppression(tmp_path / "outside", "consentric/other").marks("anna")  # of another log


def test_nothing_in_the_folder_names_anybody(tmp_path: Path) -> None:
    made(tmp_path).add("anna@example.com", Kind.ERASED, AT)
    for path in (tmp_path / "outside").iterdir():
        assert b"anna" not in path.read_bytes() and path.stat().st_mode & 0o077 == 0
    assert (tmp_path / "outside").stat().st_mode & 0o077 == 0


def test_the_same_once_more_is_no_further_entry(tmp_path: Path) -> None:
    listed = made(tmp_path)
    for _ in range(2):
        listed.add("anna", Kind.ERASED, AT)
    assert len(listed.entries("anna")) == 1
    listed.add("anna", Kind.ERASED, LATER)
    assert len(listed.entries("anna")) == 2


@pytest.mark.parametrize("status", Status)
def test_drops_what_is_older_than_an_erasure_and_takes_what_is_newer(tmp_path: Path, status: Status) -> None:
    listed = made(tmp_path)
    listed.add("anna", Kind.ERASED, AT)
    assert listed.drops(event("anna", AT, status)) and not listed.drops(event("anna", LATER, status))
    assert not listed.drops(event("otto", AT, status))


def test_an_objection_drops_older_consent_to_its_purposes_and_no_older_no(tmp_path: Path) -> None:
    listed = made(tmp_path)
    listed.add("anna", Kind.OBJECTED, AT, ADS)
    assert listed.drops(event("anna", AT)) and listed.drops(event("anna", AT, purpose=f"{ADS}.first_party"))
    assert not listed.drops(event("anna", AT, purpose="marketing")) and not listed.drops(event("anna", LATER))
    assert not listed.drops(event("anna", AT, Status.WITHDRAWN))


def test_a_write_that_was_cut_off_is_not_there_and_the_next_one_is_whole(tmp_path: Path) -> None:
    listed = made(tmp_path)
    listed.add("anna", Kind.ERASED, AT)
    path = tmp_path / "outside" / LIST
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole + whole[:cut])
        assert listed.marks("anna") and not listed.marks("otto")
        listed.add("otto", Kind.ERASED, AT)
        assert listed.marks("anna") and listed.marks("otto") and path.read_bytes().startswith(whole)


def test_a_disk_that_takes_a_part_of_a_line_says_that_it_is_full(tmp_path: Path) -> None:
    listed = made(tmp_path)
    listed.add("anna", Kind.ERASED, AT)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "outside" / LIST).stat().st_size + 20, limits[1]))
    try:
        with pytest.raises(SuppressionError, match="No space left"):
            listed.add("otto", Kind.ERASED, AT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not listed.marks("otto")
    listed.add("otto", Kind.ERASED, AT)
    assert listed.marks("anna") and listed.marks("otto")


@pytest.mark.parametrize(
    "change",
    [lambda raw: raw.replace(b"erased", b"object", 1), lambda raw: raw.split(b"\n", 1)[1], lambda raw: b"\n" + raw],
    ids=["changed", "taken out", "put in"],
)
def test_a_changed_list_is_found(tmp_path: Path, change: object) -> None:
    listed = made(tmp_path)
    listed.add("anna", Kind.ERASED, AT)
    listed.add("otto", Kind.ERASED, AT)
    path = tmp_path / "outside" / LIST
    path.write_bytes(change(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(SuppressionError, match="is damaged in line 1"):
        listed.marks("anna")
    assert [str(fault) for fault in listed.faults()]


@pytest.mark.parametrize("name", [KEY, LIST])
def test_without_key_or_list_nobody_is_told_no(tmp_path: Path, name: str) -> None:
    made(tmp_path).add("anna", Kind.ERASED, AT)
    (tmp_path / "outside" / name).unlink()
    with pytest.raises(SuppressionError, match="is missing; bring it from the old machine, or let an officer begin a new one"):
        Suppression(tmp_path / "outside", "consentric/shop").marks("anna")


@pytest.mark.parametrize("name", ["", KEY, LIST])
def test_what_others_may_read_is_refused(tmp_path: Path, name: str) -> None:
    made(tmp_path).add("anna", Kind.ERASED, AT)
    path = tmp_path / "outside" / name
    path.chmod(0o755)
    with pytest.raises(SuppressionError, match=r"is open to others: mode 0755, expected 0(6|7)00; chmod"):
        Suppression(tmp_path / "outside", "consentric/shop").marks("anna")


def test_making_it_twice_keeps_the_key(tmp_path: Path) -> None:
    made(tmp_path).add("anna", Kind.ERASED, AT)
    assert made(tmp_path).marks("anna")


def test_a_folder_inside_the_workspace_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "shop"
    (root / "inside").mkdir(parents=True)
    os.symlink(root / "inside", tmp_path / "link")
    for folder in (root, root / "inside", tmp_path / "link" / "deep", root / "not" / ".." / "yet"):
        with pytest.raises(SuppressionError, match="inside the workspace"):
            check_outside(folder, root)
    check_outside(tmp_path / "shop.outside", root)


def test_the_default_folder_is_named_after_log_and_key(tmp_path: Path) -> None:
    first, second = (default_location(f"consentric/shop+{key}", {"XDG_STATE_HOME": str(tmp_path)}) for key in ("aaaa+bb", "cccc+dd"))
    assert first.parent == tmp_path / "consentric" == second.parent and first != second and first.name.startswith("consentric-shop-")
