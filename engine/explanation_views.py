"""What a terminal shows of what separates segments, and of what became of them since the last release; from a build's facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from audit.explanation_page import Movement
from audit.wording import count, percent
from engine.display import table
from engine.lineage import Last
from engine.movement import SHARE, comparable
from governance.builds import Build
from policies.segment import Segment

MINUS = "-"


def explanation(facts: Mapping[str, Any]) -> list[str]:
    """Rules, and what a build was compared with; nothing for one that tells of neither."""
    told = facts.get("explanation") or {}
    lines = []
    if told.get("rules"):
        rows = [
            (rule["part"]["id"], rule["part"]["name"], rule["words"] or MINUS, _share(rule, "covers"), _share(rule, "others"))
            for rule in told["rules"]
        ]
        lines += ["", table(rows, ("id", "segment", "what separates it", "covers of it", "of the others"))]
    if told.get("previous"):
        came = (f"{what}: {_named(told[what])}" for what in ("stayed", "came", "went"))
        lines += ["", f"since build {told['previous']}: " + "; ".join(came)]
        drifted = [each["feature"] for each in told["drift"] if each["drifted"]]
        lines.append(f"drifted: {', '.join(drifted)}" if drifted else "no feature drifted beyond the noise")
        if told["unlike"]:
            lines.append(f"not compared, because their bounds differ: {', '.join(told['unlike'])}")
    return [*lines, *_movement(told.get("movement"))]


def comparison(last: Last | None, spec: Segment) -> list[str]:
    """What a build is going to be compared with."""
    if last is None:
        return []
    moved = "who moved is counted where features, purpose and data are the same, as long as its model serves"
    if comparable(last, spec):
        moved = f"counting who moved takes {percent(SHARE / (100 + SHARE))} of the budget (in units of μ²)"
    return [f"compared with: the release {last.build}; {moved}"]


def since(older: Build, newer: Build) -> list[str]:
    """What became of the segments of one build in another, by their ids; and who moved, if that was counted between these two."""
    before, after = ({part["id"]: part["name"] for part in build.facts.get("parts", ()) if part.get("id")} for build in (older, newer))
    if not before or not after:
        return []
    groups = (("stayed", before.keys() & after.keys(), after), ("came", after.keys() - before.keys(), after))
    said = [f"{what}: {_ids(ids, names)}" for what, ids, names in (*groups, ("went", before.keys() - after.keys(), before))]
    told = newer.facts.get("explanation") or {}
    return ["", "; ".join(said), *(_movement(told.get("movement")) if told.get("previous") == older.id else ())]


def _movement(moved: Mapping[str, Any] | None) -> list[str]:
    """The table of who moved, in rows where the last model puts people, in columns where this one does."""
    if not moved:
        return []
    found = TypeAdapter(Movement).validate_python(moved)
    targets = [f"to {part.id}" for part in found.targets]
    origins = [f"{part.id} {part.name}" for part in found.origins]
    then = [count(size, found.then_sigma) for size in found.then]
    cells = [[count(value, found.sigma) for value in row] for row in found.counts]
    rows = [(origin, size, *row) for origin, size, row in zip((*origins, "in none"), (*then, MINUS), cells, strict=True)]
    if not found.loose:
        rows = [row[:-1] for row in rows[:-1]]
    head = ("from, by the last model", "then", *targets, *(["to none"] if found.loose else []))
    return ["", "who moved, of the people of today:", table(rows, head)]


def _share(rule: Mapping[str, Any], what: str) -> str:
    share = rule[what]
    return f"{percent(share['value'])} ({percent(share['low'])} to {percent(share['high'])})" if rule["words"] else MINUS


def _named(parts: Sequence[Mapping[str, str]]) -> str:
    return ", ".join(f"{part['id']} {part['name']}" for part in parts) or "none"


def _ids(ids: set[str], names: Mapping[str, str]) -> str:
    return ", ".join(f"{each} {names[each]}" for each in sorted(ids, key=lambda each: int(each[1:]))) or "none"
