"""What a terminal shows of fairness: verdicts by group, what could not have been seen, and what features tell of groups."""

from __future__ import annotations

from typing import Any

from audit.fairness import Measure
from audit.proxies import MEASURE
from audit.wording import count, sentence
from engine.display import table
from engine.release import find
from engine.views import View
from engine.wording import coverage_words
from engine.workspace import Workspace


def fairness(workspace: Workspace, name: str) -> View:
    """Verdicts by attribute and group, of the newest build with a model of its own."""
    build = find(workspace, name, trained=True)
    findings = build.facts.get("fairness", [])
    lines = [f"{build.segment}, build {build.id}: {build.facts.get('verdict') or 'no attribute was declared'}"]
    for finding in findings:
        lines += ["", f"{finding['attribute']}: {finding['verdict']}; {finding['reason']}"]
        if not finding["groups"]:
            continue
        lines.append(coverage_words(finding["coverage"]))
        if comparisons := finding.get("comparisons"):
            lines.append(f"ratios and gaps hold together at 95 %, over {comparisons:,} comparisons")
        lines.append(table([_row(group) for group in finding["groups"]], _HEAD))
        if proxy := finding.get("proxy"):
            lines += ["", f"{MEASURE}: {proxy['verdict']}; {proxy['reason']}", table([_told(group) for group in proxy["groups"]], _TOLD)]
            lines += _standing(proxy["standing"])
    return {"build": build.id, "verdict": build.facts.get("verdict"), "findings": findings}, "\n".join(lines)


_HEAD = ("measure", "of", "group", "subjects", "rate", "against the highest", "verdict", "smallest gap visible")
_TOLD = ("group", "subjects", "named, of its own", "named, of others", "more often", "verdict")

NAMED = 5
"""Features that stand for groups and are named; --json has them all."""


def _row(group: dict[str, Any]) -> tuple[str, ...]:
    counted, predicted = count(group["subjects"], group["sigma"]), group.get("predicted")
    rate = _range(group["rate"]) + (f", predicted {predicted:.2f}" if predicted is not None else "")
    compared = _range(group["compared"])
    return group["measure"], group["outcome"], group["group"], counted, rate, compared, group["verdict"], _visible(group)


def _visible(group: dict[str, Any]) -> str:
    """The smallest gap that could have been seen."""
    seen = group["detectable"]
    if seen is None:
        return "none"
    return f"a ratio of {seen:.2f}" if group["measure"] == Measure.SELECTION else f"{100 * seen:.0f} points"


def _told(group: dict[str, Any]) -> tuple[str, ...]:
    counted = count(group["subjects"], group["sigma"])
    return group["group"], counted, _range(group["right"]), _range(group["wrong"]), _range(group["told"]), group["verdict"]


def _standing(standing: list[dict[str, Any]]) -> list[str]:
    """In words, the features that differ most."""
    return [
        sentence(f"{each['feature']} of {each['group']}: {_range(each['difference'])} standard deviations above everybody's mean")
        for each in standing[:NAMED]
    ]


def _range(interval: dict[str, float] | None) -> str:
    return f"{interval['low']:.2f} to {interval['high']:.2f}".replace("-", "−") if interval else "-"
