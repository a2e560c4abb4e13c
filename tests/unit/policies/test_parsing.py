"""YAML → plain values: what is read, and each surprise that is refused instead."""

from __future__ import annotations

import time

import pytest
import yaml

from policies import parsing
from policies.parsing import MAX_BYTES, MAX_SHOWN, DocumentError, Place, parse


@pytest.fixture(autouse=True, params=["CSafeLoader", "SafeLoader"])
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML reads with libyaml where it was built with it, and in Python where not."""
    if not hasattr(yaml, request.param):
        pytest.skip("PyYAML was built without libyaml")
    monkeypatch.setattr(parsing, "_LOADER", getattr(yaml, request.param))


def refused(data: bytes | str) -> str:
    with pytest.raises(DocumentError) as caught:
        parse(data.encode() if isinstance(data, str) else data, "d.yaml")
    return str(caught.value)


def test_values_and_places() -> None:
    tree = parse(b"name: a\nlist:\n  - 1\n  - {x: 2.5, y: true, z: null, d: 2026-01-31}\n", "d.yaml")
    assert tree.value == {"name": "a", "list": [1, {"x": 2.5, "y": True, "z": None, "d": "2026-01-31"}]}
    assert tree.places[("list", 1, "y")] == Place(4, 14)


@pytest.mark.parametrize("key", ["no", "on", "010", "1", "null", "2026-01-31", "~"])
def test_keys_are_text(key: str) -> None:
    assert parse(f"{key}: 1".encode(), "d.yaml").value == {key: 1}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-3", -3),
        ("0", 0),
        ("1e-5", 1e-5),
        ("1E6", 1e6),
        ("0.1", 0.1),
        ("12345678901234567", 12345678901234567),
        ("True", True),
        ("~", None),
    ],
)
def test_numbers_and_truth(text: str, value: object) -> None:
    read = parse(f"a: {text}".encode(), "d.yaml").value["a"]
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize("text", ["sum(amount)", "1.2.3", "y", "90d", "1-2", "a: b"[:1], "2026-01-31T00:00:00", "-", "1 2", "é", "=", "<<"])
def test_plain_text(text: str) -> None:
    assert parse(f"a: {text}".encode() if text != "-" else b'a: "-"', "d.yaml").value == {"a": text}


@pytest.mark.parametrize(
    "text",
    [
        "no",
        "Yes",
        "ON",
        "off",
        "010",
        "0o17",
        "0x1F",
        "0b11",
        "1_000",
        "12:30",
        "190:20:30",
        ".inf",
        "-.INF",
        ".nan",
        "+5",
        "1.",
        ".5",
        "00",
    ],
)
def test_ambiguous_scalars_ask_for_quotes(text: str) -> None:
    assert f"d.yaml:2: b: got `{text}`, which YAML readers take differently" in refused(f"a: 1\nb: {text}")
    assert parse(f'b: "{text}"'.encode(), "d.yaml").value == {"b": text}
    assert parse(f"b: '{text}'".encode(), "d.yaml").value == {"b": text}


@pytest.mark.parametrize("text", ["9" * 5000, "1e999", "0.12345678901234567890123", "1" * 18])
def test_numbers_that_would_change_are_refused(text: str) -> None:
    assert "expected a number of at most 17 characters" in refused(f"a: {text}")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "d.yaml:1: got an empty document, expected a mapping"),
        (b"# nothing\n", "got an empty document"),
        (b"---\n", "got an empty document"),
        (b"- a\n", "d.yaml:1: got `[a]`, expected a mapping"),
        (b"hello", "got `hello`, expected a mapping"),
        (b"a: 1\n---\nb: 1\n", "d.yaml:2: got a second document"),
        (b"a:\n\tb: 1\n", "d.yaml:2: not YAML: "),
        (b"a: [1, 2\n", "not YAML: "),
        (b"a: b: c\n", "d.yaml:1: not YAML: mapping values are not allowed"),
        (b"a: 1\nb: 2\na: 3\n", "d.yaml:3: a: got `a` twice, expected it once (first on line 1)"),
        (b"a: {b: 1, b: 2}\n", "a.b: got `b` twice"),
        (b"a: &x [1]\nb: *x\n", "d.yaml:2: b: got `*x`, expected no anchors or aliases"),
        (b"a: &x 1\n", "d.yaml:1: a: got `&x`"),
        (b"a: !!python/object/apply:os.system [ls]\n", "got the tag"),
        (b"a: !secret x\n", "got the tag `!secret`"),
        (b"a: ! x\n", "got the tag `!`"),
        (b'a: "\\ud800"\n', "d.yaml:1: "),
        (b"? [a]\n: 1\n", "got a key that is not text"),
        (b"a: 1\nb: \xff\n", "d.yaml:2: got the byte `0xff`, expected text in UTF-8"),
        ("kind: x".encode("utf-16"), "expected text in UTF-8"),
        (b"a: 1\nb: \x07\n", "d.yaml:2: got the character `0x7`"),
        (b"a: " + b"x" * MAX_BYTES, f"expected at most {MAX_BYTES}"),
    ],
)
def test_refusals(data: bytes, message: str) -> None:
    assert message in refused(data)


def test_byte_order_mark_is_no_text() -> None:
    assert parse(b"\xef\xbb\xbfa: 1", "d.yaml").value == {"a": 1}


@pytest.mark.parametrize("opening", [b"[", b"{a: ", b"- ", b"? ", b"[{a: "])
def test_deep_nesting_ends_at_once(opening: bytes) -> None:
    begun = time.monotonic()
    refused(b"a: " + opening * (MAX_BYTES // len(opening) - 10))
    assert time.monotonic() - begun < 2


def test_all_that_can_be_told_is_told() -> None:
    with pytest.raises(DocumentError) as caught:
        parse(b"a: no\nb: 010\nc: &x 1\na: 2\n", "d.yaml")
    assert [problem.line for problem in caught.value.problems] == [1, 2, 3, 4]
    assert {problem.column for problem in caught.value.problems} == {1, 4}


def test_long_lists_of_problems_are_cut_in_the_message_alone() -> None:
    with pytest.raises(DocumentError) as caught:
        parse("".join(f"k{i}: no\n" for i in range(MAX_SHOWN + 7)).encode(), "d.yaml")
    assert len(caught.value.problems) == MAX_SHOWN + 7
    assert str(caught.value).endswith("and 7 more")


def test_messages_hold_no_escape_sequences() -> None:
    assert "\x1b" not in refused('"\\e[31m": no')
