"""Ten thousand generated expressions, honest and hostile: what runs reads what it says, and nothing that was not granted.

Expressions come from a grammar, from the corpus of evasions spliced into it, from damaged texts of both, and from soup of
tokens. What DuckDB would read is found apart from the project's own binder: every accepted one is bound to a table with
the denied columns in it, and the scans of the plan are compared with the reads that the compiler declares.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from governance.expressions import Compiled, ExpressionError, Scope, compile_expression
from governance.reads import MinimisationError, require
from policies.contract import Column

N = 10_000
AS_OF = dt.date(2024, 3, 1)
GRANTED = {"amount": "decimal(10,2)", "items": "integer", "score": "double", "member": "boolean", "channel": "text", "bought_on": "date"}
DENIED = {"email": "text", "card": "integer", "born": "date", "income": "decimal(18,2)", "weight": "double", "ill": "boolean"}
SCOPE = Scope("tx", {name: ("tx", Column(category="user", type=kind)) for name, kind in (GRANTED | DENIED).items()})
CORPUS = [text for group in yaml.safe_load((Path(__file__).parent / "evasions.yaml").read_text()).values() for text, *_ in group]

NASTY = {
    "decimal(10,2)": ["0", "99999999.99", "-99999999.99", None],
    "decimal(18,2)": ["1", "9999999999999999.99", None, "-0.01"],
    "integer": [0, 2**63 - 1, -(2**63), None],
    "double": [0.0, 1e308, -5e-324, None],
    "boolean": [True, False, None, True],
    "text": ["", "secret", "9e999", None],
    "date": ["0001-01-01", "9999-12-31", None, "2024-02-29"],
}


class Grammar:
    """Honest expressions; a hole is filled by a hostile piece with a chance of `hostility`."""

    def __init__(self, draw: random.Random, hostility: float) -> None:
        self._draw = draw
        self._hostility = hostility
        self._names = GRANTED if draw.random() < 0.5 else GRANTED | DENIED

    def whole(self, depth: int = 0) -> str:
        """A number made of aggregates."""
        if depth > 1 or self._draw.random() < 0.6:
            return self.aggregate()
        inner: Callable[[], str] = lambda: self.whole(depth + 1)  # noqa: E731
        return self._pick(
            lambda: f"({inner()} {self._of('+ - * /')} {inner()})",
            lambda: f"{self._of('abs ln sqrt exp floor ceil sign log2')}({inner()})",
            lambda: f"coalesce({inner()}, {self._of('0 1 -1 0.5')})",
            lambda: f"case when {inner()} {self._of('< > = <> <= >=')} {inner()} then {inner()} else {inner()} end",
            lambda: f"greatest({inner()}, {inner()})",
            lambda: f"nullif({inner()}, {inner()})",
            lambda: f"round({inner()}, 2)",
            lambda: f"power({inner()}, {inner()})",
            lambda: f"cast({inner()} as {self._of('bigint double integer')})",
            lambda: f"if({inner()} between 0 and {inner()}, 1, 0)",
        )

    def aggregate(self) -> str:
        """One aggregate."""
        return self._pick(
            lambda: "count(*)",
            lambda: f"{self._of('sum avg min max stddev var_pop stddev_pop count n_distinct')}({self.number()})",
            lambda: f"{self._of('share_of count_if avg')}({self.condition()})",
            lambda: f"if({self._of('bool_or bool_and max')}({self.condition()}), 1, 0)",
            lambda: f"{self._of('sum avg max count')}({self.number()}) filter (where {self.condition()})",
            lambda: f"count(distinct {self._pick(self.number, self.text, self.moment)})",
            lambda: f"days_since({self._of('min max')}({self.moment()}))",
            lambda: f"date_diff('day', min({self.moment()}), max({self.moment()}))",
        )

    def number(self, depth: int = 0) -> str:
        """A number of one row."""
        if depth > 1 or self._draw.random() < 0.5:
            return self._hole(lambda: self._column("decimal(10,2)", "decimal(18,2)", "integer", "double"))
        inner: Callable[[], str] = lambda: self.number(depth + 1)  # noqa: E731
        return self._pick(
            lambda: self._of("0 1 -1 2.50 999999999999999999 0.000000000000000001"),
            lambda: f"({inner()} {self._of('+ - * /')} {inner()})",
            lambda: f"{self._of('- abs sqrt ln exp floor sign')}({inner()})",
            lambda: f"length({self.text()})",
            lambda: f"{self._of('year quarter month week day dayofweek isodow dayofyear days_since')}({self.moment()})",
            lambda: f"date_diff('{self._of('day week month quarter year hour second')}', {self.moment()}, {self.moment()})",
            lambda: f"case when {self.condition(depth + 1)} then {inner()} end",
            lambda: f"cast({self.text()} as {self._of('double bigint decimal(9,3)')})",
            lambda: f"try_cast({inner()} as decimal(5,0))",
            lambda: f"coalesce({inner()}, {inner()}, 0)",
        )

    def condition(self, depth: int = 0) -> str:
        """A condition on one row."""
        return self._pick(
            lambda: self._hole(lambda: self._column("boolean")),
            lambda: f"{self.number(depth + 1)} {self._of('< > = <> <= >= <=>')} {self.number(depth + 1)}",
            lambda: f"{self.text()} in ('shop', 'web', 'x''y')",
            lambda: f"{self.text()} {self._of('like ilike')} '{self._of('s% %_x a% % _')}'",
            lambda: f"{self._of('contains starts_with')}({self.text()}, 'a')",
            lambda: f"{self.moment()} {self._of('< >= =')} '{self._of('2024-01-01 2023-12-31')}'",
            lambda: f"{self._pick(self.text, self.number, self.moment)} is {self._of('null') if depth else 'not null'}",
            lambda: f"(not {self.condition(depth + 1)})" if depth < 3 else "true",
            lambda: f"({self.condition(depth + 1)} {self._of('and or')} {self.condition(depth + 1)})" if depth < 3 else "false",
        )

    def text(self, depth: int = 0) -> str:
        """A text of one row."""
        if depth > 1 or self._draw.random() < 0.5:
            return self._hole(lambda: self._column("text"))
        inner: Callable[[], str] = lambda: self.text(depth + 1)  # noqa: E731
        return self._pick(
            lambda: f"{self._of('lower upper trim')}({inner()})",
            lambda: f"({inner()} || {inner()})",
            lambda: f"substring({inner()}, 1, 3)",
            lambda: f"cast({self._column('integer', 'decimal(10,2)', 'boolean')} as text)",
            lambda: "'x; drop table tx --'",
            lambda: f"coalesce({inner()}, '')",
        )

    def moment(self) -> str:
        """A date of one row."""
        return self._pick(
            lambda: self._hole(lambda: self._column("date")),
            lambda: f"date_trunc('{self._of('year quarter month week day')}', {self._column('date')})",
            lambda: f"cast({self.text(2)} as {self._of('date timestamp')})",
            lambda: f"coalesce({self._column('date')}, '2024-01-01')",
        )

    def _column(self, *kinds: str) -> str:
        return self._draw.choice([name for name, kind in self._names.items() if kind in kinds])

    def _hole(self, honest: Callable[[], str]) -> str:
        return self._draw.choice(CORPUS) if self._draw.random() < self._hostility else honest()

    def _of(self, words: str) -> str:
        return self._draw.choice(words.split())

    def _pick(self, *ways: Callable[[], str]) -> str:
        return self._draw.choice(ways)()


CHARACTERS = "'\"`$;,.()[]{}*#@?:\\/-+%&|~^!<>= \n\t\0\u200b\u202e\u00a0\uff08\u0430eE019xX_"
TOKENS = """
sum( max( count( ) ( , * + - . ; :: [ ] { } -> || and or not in is null like case when then end from where select over filter distinct
columns exclude all any lambda x tx email amount channel 'a' 1 0x1 1e5 $1 ? as date interval unnest row struct_pack to_json getvariable
"""


def damaged(text: str, draw: random.Random) -> str:
    """One to four small wounds."""
    for _ in range(draw.randint(1, 4)):
        start = draw.randint(0, len(text))
        end = min(len(text), start + draw.randint(0, 6))
        text = draw.choice(
            [
                text[:start] + text[end:],
                text[:start] + draw.choice(CHARACTERS) + text[start:],
                text[:start] + text[start:end] * 2 + text[end:],
                text[:start] + text[start:end].swapcase() + text[end:],
                text[:start] + draw.choice(CORPUS) + text[end:],
                text.replace(draw.choice([*GRANTED]), draw.choice([*DENIED]), 1),
            ]
        )
    return text


def generated(seed: int) -> Iterator[tuple[str, str]]:
    """A kind and a text, `N` times."""
    draw = random.Random(seed)
    for _ in range(N):
        chance = draw.random()
        if chance < 0.4:
            yield "honest", Grammar(draw, 0.0).whole()
        elif chance < 0.65:
            yield "spliced", Grammar(draw, 0.3).whole()
        elif chance < 0.9:
            yield "damaged", damaged(draw.choice([Grammar(draw, 0.05).whole(), draw.choice(CORPUS)]), draw)
        else:
            yield "soup", " ".join(draw.choices(TOKENS.split(), k=draw.randint(1, 12)))


class Plans:
    """DuckDB's own account of what a query reads, with no optimiser but the one that drops unused columns, and its answers."""

    def __init__(self) -> None:
        self._planned, self._nasty = duckdb.connect(), duckdb.connect(config={"ieee_floating_point_ops": True})
        kinds = {name: {"text": "VARCHAR", "integer": "BIGINT"}.get(kind, kind) for name, kind in (GRANTED | DENIED).items()}
        for connection in (self._planned, self._nasty):
            connection.execute(f"CREATE TABLE tx ({', '.join(f'{name} {kind}' for name, kind in kinds.items())})")
        for place in range(4):
            row = [NASTY[kind][(place + shift) % 4] for shift, kind in enumerate((GRANTED | DENIED).values())]
            self._nasty.execute(f"INSERT INTO tx VALUES ({', '.join('?' * len(row))})", row)
        names = [name for (name,) in self._planned.execute("SELECT name FROM duckdb_optimizers()").fetchall()]
        self._planned.execute(f"SET disabled_optimizers = '{','.join(name for name in names if name != 'unused_columns')}'")

    def reads(self, compiled: Compiled) -> set[str]:
        """Columns that the scan of `tx` projects; none: rows alone are counted."""
        [(_, plan)] = self._planned.execute(f"EXPLAIN (FORMAT json) {query(compiled)}").fetchall()
        found: set[str] = set()
        scans = 0
        waiting: list[Any] = list(json.loads(plan))
        while waiting:
            node = waiting.pop()
            waiting += node.get("children", [])
            if "SCAN" in node["name"]:
                assert node["extra_info"].get("Table", "").endswith("tx"), node
                scans += 1
                projected = node["extra_info"].get("Projections", [])
                found |= {projected} if isinstance(projected, str) else set(projected)
        assert scans == 1
        return found & {*GRANTED, *DENIED}

    def value(self, compiled: Compiled) -> float | None:
        """The answer over the nastiest rows."""
        [(found,)] = self._nasty.execute(query(compiled)).fetchall()
        return found  # type: ignore[no-any-return]


def query(compiled: Compiled) -> str:
    names = [f"a{i}" for i in range(len(compiled.aggregates))]
    parts = ", ".join(f"{aggregate.sql()} AS {name}" for aggregate, name in zip(compiled.aggregates, names, strict=True))
    return f"SELECT {compiled.value(names)} FROM (SELECT {parts} FROM tx)"


@pytest.mark.slow
def test_no_generated_expression_reads_what_was_not_granted(capsys: pytest.CaptureFixture[str]) -> None:
    plans, counts = Plans(), Counter[str]()
    grants = {"tx": frozenset(GRANTED)}
    for kind, text in generated(seed=3):
        try:
            compiled = compile_expression("f", text, SCOPE, AS_OF)
        except ExpressionError as refused:
            assert refused.feature == "f" and refused.expected.startswith("expected "), text
            assert str(refused).replace("\u200d", "").isprintable(), text
            counts[f"{kind}: refused"] += 1
            continue
        declared = {column for _, column in compiled.reads}
        read = plans.reads(compiled)
        assert read <= declared, text
        try:
            require(compiled.reads, grants)
        except MinimisationError as denied:
            assert declared & DENIED.keys() and any(f"`tx.{name}`" in str(denied) for name in DENIED), text
            counts[f"{kind}: column denied"] += 1
            continue
        assert not read & DENIED.keys(), text
        if counts[f"{kind}: ran"] % 4 == 0:
            value = plans.value(compiled)
            assert value is None or math.isfinite(value), text
        counts[f"{kind}: ran"] += 1
    with capsys.disabled():
        print(f"\n{N} generated expressions: {', '.join(f'{name} {count}' for name, count in sorted(counts.items()))}")
    assert counts.total() == N
    assert all(counts[f"honest: {end}"] > 1000 for end in ("ran", "column denied"))
    assert all(counts[f"{kind}: refused"] > 300 for kind in ("spliced", "damaged", "soup"))
    assert all(counts[f"{kind}: ran"] > 20 for kind in ("spliced", "damaged"))


def test_the_plans_see_denied_columns() -> None:
    """The control: where a denied column is read, wherever it stands, the plan says so."""
    plans = Plans()
    for text in ("count(email)", "count(*) filter (where born < '2000-01-01')", "sum(case when ill then amount end)", "n_distinct(card)"):
        compiled = compile_expression("f", text, SCOPE, AS_OF)
        assert plans.reads(compiled) & DENIED.keys()
        with pytest.raises(MinimisationError):
            require(compiled.reads, {"tx": frozenset(GRANTED)})
