"""What people see of values that are not ours: aligned, whole, and without a hold on the terminal."""

from __future__ import annotations

import io
import json

import pytest

from engine.display import WIDEST, Display, finding_lines, printable, table
from policies.decisions import Cause, Finding


def lines(text: str) -> list[str]:
    return text.split("\n")


class TestTable:
    def test_numbers_stand_to_the_right_and_words_to_the_left(self) -> None:
        shown = lines(table([("recent", "1,610 ± 38", "40.3%"), ("lapsing, once loyal", "72 ± 38", "-1.8%")], ("segment", "size", "share")))
        assert shown[2] == "recent               1,610 ± 38  40.3%"
        assert shown[3] == "lapsing, once loyal     72 ± 38  -1.8%"

    def test_dates_are_words(self) -> None:
        shown = lines(table([("2026-11-22", "x"), ("2026-11-2", "y")], ("at", "what")))
        assert shown[3] == "2026-11-2   y"

    def test_a_column_without_name_and_content_is_left_out(self) -> None:
        assert lines(table([("a", ""), ("b", "")], ("part", ""))) == ["part", "----", "a", "b"]
        assert "withheld" in table([("a", "withheld"), ("b", "")], ("part", ""))

    def test_long_cells_go_on_below_and_lose_nothing(self) -> None:
        words = " ".join(f"word-{i}" for i in range(60))
        shown = lines(table([("x", words)], ("name", "what")))
        assert max(map(len, shown)) <= WIDEST + 6 and len(shown) > 5
        assert " ".join(line[6:] for line in shown[2:]) == words

    def test_what_has_no_place_to_break_stays_whole(self) -> None:
        assert "f" * 200 in table([("f" * 200,)], ("pseudonym",))

    def test_no_rows_leave_the_head(self) -> None:
        assert lines(table([], ("one", "two"))) == ["one  two", "---  ---"]


class TestTerminal:
    def test_no_text_of_others_moves_the_cursor(self) -> None:
        assert printable("\x1b[2Jgone\r\u202eback\nε 1") == "\\x1b[2Jgone\\r\\u202eback\nε 1"

    def test_neither_in_results_nor_in_reasons(self, capsys: pytest.CaptureFixture[str]) -> None:
        bad = Finding(Cause.FORBID, "t.c", "r", "p", "\x1b[31mred", "c", None, None)
        Display(False).result({}, "\x1b[31mred")
        Display(False).refused([bad], 3)
        said = capsys.readouterr()
        assert "\x1b" not in said.out + said.err and "\\x1b[31mred" in said.out and "\\x1b[31mred" in said.err

    def test_json_is_json(self, monkeypatch: pytest.MonkeyPatch) -> None:
        out = io.StringIO()
        monkeypatch.setattr("sys.stdout", out)
        Display(True).result({"text": "\x1b[31mε"}, "no")
        assert json.loads(out.getvalue()) == {"text": "\x1b[31mε"} and "\x1b" not in out.getvalue()


def test_a_finding_says_why_because_of_what_and_the_way_out() -> None:
    finding = Finding(Cause.FORBID, "t.c", "no-contact", "p", "nobody needs it", "`user.contact`", "GDPR art. 5", "leave it out")
    text = "\n".join(finding_lines([finding]))
    assert all(word in text for word in ("t.c", "no-contact", "nobody needs it (GDPR art. 5)", "`user.contact`", "way out: leave it out"))
