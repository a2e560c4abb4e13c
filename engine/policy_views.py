"""What a terminal shows of tests of policies, of their mutants, and of two policies set against each other: data and text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from engine.display import table
from engine.policies import Compared, Hunt, Report
from policies.comparing import Answer, Change
from policies.rules import Reading

View = tuple[dict[str, Any], str]

SHOWN = 50
"""Most failures that a terminal shows; --json has them all."""


def tested(reports: Sequence[Report]) -> View:
    """Each case of each document, with what failed."""
    data = [
        {
            "document": report.document,
            "policy": report.policy,
            "checks": report.checks,
            "failed": len(report.failures),
            "cases": [{"case": case, "checks": count, "failed": _failed(report, case)} for case, count in report.cases],
            "failures": [{"case": failure.case, "about": failure.about, "what": failure.what} for failure in report.failures],
        }
        for report in reports
    ]
    return {"tests": data}, "\n\n".join(_report(report) for report in reports)


def hunted(hunt: Hunt) -> View:
    """How many mutants were caught, and which were not."""
    share = 100 * hunt.caught / hunt.mutants if hunt.mutants else 100.0
    lines = [f"{hunt.policy}: {hunt.caught} of {hunt.mutants} mutations caught ({share:.1f} %)"]
    lines += [f"  survived: {rule}: {what}" for rule, what in hunt.survivors]
    survivors = [{"rule": rule, "what": what} for rule, what in hunt.survivors]
    return {"policy": hunt.policy, "mutations": hunt.mutants, "caught": hunt.caught, "survivors": survivors}, "\n".join(lines)


def compared(found: Compared) -> View:
    """What opens, closes, or changes its shape; rules, figures, segments."""
    difference = found.difference
    changes = (
        ("newly exposes", "to", difference.opened),
        ("takes away", "from", difference.closed),
        ("reads otherwise", "for", difference.reshaped),
    )
    data = {
        "before": found.before,
        "after": found.after,
        "opened": [_change(change) for change in difference.opened],
        "closed": [_change(change) for change in difference.closed],
        "reshaped": [_change(change) for change in difference.reshaped],
        "rules": [{"rule": rule, "what": what} for rule, what in difference.rules],
        "figures": [{"figure": name, "before": old, "after": new} for name, old, new in difference.figures],
        "segments": [{"segment": name, "what": what} for name, what in found.segments],
    }
    if difference.nothing:
        return data, f"{found.before} → {found.after}: nothing changes"
    parts = [f"{found.before} → {found.after}", *(_summary(*change) for change in changes if change[2])]
    if not any(part for _, _, part in changes):
        parts.append("no column is exposed to, or taken from, any purpose")
    if difference.rules:
        parts.append("\n".join(f"rule {rule} {what}" for rule, what in difference.rules))
    if difference.figures:
        parts.append(table(difference.figures, ("figure", "before", "after")))
    parts += [f"segment {name}: {what}" for name, what in found.segments]
    return data, "\n\n".join(parts)


def _failed(report: Report, case: str) -> int:
    return sum(failure.case == case for failure in report.failures)


def _report(report: Report) -> str:
    state = f"{len(report.failures)} failed" if report.failures else "all passed"
    lines = [f"{report.document}: {report.checks} checks of {report.policy}, {state}"]
    lines += [f"  {'FAIL' if _failed(report, case) else 'ok':4}  {case} ({count})" for case, count in report.cases]
    for failure in report.failures[:SHOWN]:
        lines += [f"  {failure.case}: {failure.about}", f"    {failure.what}"]
    more = len(report.failures) - SHOWN
    return "\n".join([*lines, *([f"  and {more} more; --json has them all"] if more > 0 else [])])


def _summary(verb: str, preposition: str, changes: Sequence[Change]) -> str:
    """A headline, and the columns by what happens to them: for which purposes, where, and in whose hands."""
    columns: dict[tuple[str, str, Reading], list[Change]] = {}
    for change in changes:
        columns.setdefault((change.case.contract, change.case.column, change.case.reading), []).append(change)
    alike: dict[tuple[str, ...], list[str]] = {}
    for (contract, column, reading), about in columns.items():
        audit = " (fairness audit)" if reading is Reading.FAIRNESS else ""
        alike.setdefault(_circumstances(about), []).append(f"{contract}: {column}{audit}")
    purposes = {change.case.purpose for change in changes}
    distinct = len({name[:2] for name in columns})
    lines = [f"{verb} {_counted(distinct, 'column')} {preposition} {_counted(len(purposes), 'purpose')}"]
    for circumstances, names in alike.items():
        lines += [f"  {name}" for name in names] + [f"    {line}" for line in circumstances]
    return "\n".join(lines)


def _circumstances(about: Sequence[Change]) -> tuple[str, ...]:
    """What happens to one column, in lines."""
    return (
        f"for {_names(change.case.purpose for change in about)}; in {_names(change.case.place for change in about)}",
        f"kept in or handed to {_names(change.case.destination for change in about)}",
        *dict.fromkeys(_words(change.before, change.after) for change in about),
    )


def _words(before: Answer, after: Answer) -> str:
    return f"{_answer(before)} → {_answer(after)}"


def _answer(answer: Answer) -> str:
    shape = f", {', then '.join(answer.steps)}" if answer.allowed and answer.steps else ""
    return f"{'allowed' if answer.allowed else 'denied'} ({', '.join(dict.fromkeys(answer.rules))}){shape}"


def _change(change: Change) -> dict[str, Any]:
    case = change.case
    return {
        "contract": case.contract,
        "column": case.column,
        "read_for": case.reading.value,
        "purpose": case.purpose,
        "jurisdiction": case.place,
        "destination": case.destination,
        "before": {"allowed": change.before.allowed, "rules": list(change.before.rules), "read_as": list(change.before.steps)},
        "after": {"allowed": change.after.allowed, "rules": list(change.after.rules), "read_as": list(change.after.steps)},
    }


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names)))


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
