"""consent import | decode | signals | grant | withdraw | object | merge | split | show | stats | snapshot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.commands.shared import Desk, Json, Where, desk
from engine.display import table
from governance.roles import Action

if TYPE_CHECKING:
    from engine.sweep import Swept

Subject = Annotated[str, typer.Argument(help="The subject key, as in the data.")]
Vendor = Annotated[
    int | None, typer.Option("--vendor", min=1, max=65535, help="Our id in the IAB's global vendor list; default: that of the settings.")
]


def attach(app: typer.Typer) -> None:
    """Add the commands of this topic."""
    consent = typer.Typer(help="Consent events: append-only, with event time and received time.", no_args_is_help=True)
    consent.command("import")(import_file)
    consent.command("decode")(decode)
    consent.command("signals")(signals)
    consent.command("grant")(grant)
    consent.command("withdraw")(withdraw)
    consent.command("object")(object_to)
    consent.command("merge")(merge)
    consent.command("split")(split)
    consent.command("show")(show)
    consent.command("stats")(stats)
    consent.command("snapshot")(snapshot)
    app.add_typer(consent, name="consent")


def import_file(
    file: Annotated[Path, typer.Argument(help="CSV, Parquet or JSONL: events (subject, purpose, status, event_time), or signals.")],
    again: Annotated[bool, typer.Option("--again", help="Import a file although an identical one was imported before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file and import nothing.")] = False,
    vendor: Vendor = None,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Import consent events, all or nothing, or signals (subject, at, and tcf, gpp, usp, gpc or record)."""
    with desk(as_json, where) as at:
        from engine import consents

        done, swept = consents.import_file(at.workspace(Action.IMPORT_CONSENT), file, again=again, dry_run=dry_run, vendor=vendor)
        for reason, count in sorted(done.rejected.items()):
            at.display.note(f"{count:,} rejected: {reason}")
        for rejection in done.first:
            at.display.note(f"  {rejection}")
        if done.suppressed:
            at.display.note(f"{done.suppressed:,} left out: their subjects were erased or objected since")
        _tell(at, swept)
        verb = "would be imported" if dry_run else "imported, in one entry of the log"
        if done.suppressed is None:
            verb += "; those of whoever was erased or objected since are left out"
        data = {"events": done.events, "imported": not dry_run, "rejected": {**done.rejected}, "suppressed": done.suppressed}
        at.display.result(data | {"first": [str(each) for each in done.first]}, f"{done.events:,} events {verb}")


def decode(
    string: Annotated[str, typer.Argument(help="A TC string, GPP string, US Privacy string, GPC value or consent record.")],
    kind: Annotated[str | None, typer.Option("--kind", help="tcf, gpp, usp, gpc or record; default: as it looks.")] = None,
    vendor: Vendor = None,
    jurisdiction: Annotated[str | None, typer.Option("--jurisdiction", help="Where the subject is, for GPC.")] = None,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Explain a consent signal: what it holds, and what it says about which data use. With -w, by that workspace's policies."""
    with desk(as_json, where) as at:
        from engine import signals as told

        who = told.controller(at.workspace(Action.READ_POLICY) if where else None, vendor)
        found = told.decode(string, kind, who, jurisdiction)
        rows = [(each["data_use"], each["status"], each["method"], each["because"]) for each in found["says"]]
        said = table(rows, ("data use", "status", "by", "because")) if rows else "it says nothing about any data use"
        at.display.result({key: value for key, value in found.items() if key != "lines"}, "\n".join([*found["lines"], "", said]))


def signals(where: Where = None, as_json: Json = False) -> None:
    """Which data uses consent signals speak of, by this workspace's policies."""
    with desk(as_json, where) as at:
        from engine import signals as told

        rows = told.mapping(told.controller(at.workspace(Action.READ_POLICY)))
        at.display.result({"signals": rows}, table([[*row.values()] for row in rows], ("signal", "what it says", "data use")))


def grant(
    subject: Subject,
    purpose: Annotated[str, typer.Argument(help="fideslang data use.")],
    valid_for: Annotated[str | None, typer.Option("--valid-for", help="Such as 365d; default: until withdrawn.")] = None,
    notice: Annotated[str | None, typer.Option("--notice", help="Version of the notice that was shown.")] = None,
    jurisdiction: Annotated[str | None, typer.Option("--jurisdiction")] = None,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Record that a subject consents to a purpose."""
    with desk(as_json, where) as at:
        from engine import consents

        workspace = at.workspace(Action.RECORD_CONSENT)
        consents.grant(workspace, subject, purpose, valid_for, notice, jurisdiction)
        if not consents.known(workspace, purpose):
            at.display.note(f"no policy of this workspace has the purpose `{purpose}`, so that this consent serves nothing yet")
        at.display.result({"recorded": "given"}, f"recorded: given for {purpose}")


def withdraw(
    subject: Subject,
    purpose: Annotated[str, typer.Argument(help="fideslang data use; default: all purposes.")] = "*",
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Record that a subject withdraws; it takes effect on every read from now on."""
    with desk(as_json, where) as at:
        from engine import consents

        unheard, swept = consents.withdraw(at.workspace(Action.RECORD_CONSENT), subject, purpose)
        if unheard:
            at.display.note(
                "no event was held for this subject key before; keys are compared exactly, so look whether it is as in the data"
            )
        _tell(at, swept)
        at.display.result(
            {"recorded": "withdrawn"},
            f"recorded: withdrawn for {'all purposes' if purpose == '*' else purpose}\n"
            "in effect at once for builds, releases, member lists and exports; noisy counts follow with the next snapshot",
        )


def object_to(
    subject: Subject,
    purpose: Annotated[str, typer.Argument(help="fideslang data use; default: all purposes.")] = "*",
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Record that a subject objects (GDPR art. 21): in the ledger, and on the list outside the workspace, so that no backup undoes it."""
    with desk(as_json, where) as at:
        from engine import rights, rights_views

        at.display.result(*rights_views.objected(purpose, rights.object_to(at.workspace(Action.RECORD_CONSENT), subject, purpose)))


def _tell(at: Desk, swept: Swept) -> None:
    """What a sweep could not judge. Whom it took out of what would say too much about one subject here; `consentric sweep` tells."""
    for problem in swept.problems:
        at.display.note(f"not judged: {problem}")


def show(subject: Subject, where: Where = None, as_json: Json = False) -> None:
    """A subject's consent events and what they mean for each purpose now (officers; the look is logged)."""
    with desk(as_json, where) as at:
        from engine import consents

        seen = consents.show(at.workspace(Action.READ_SUBJECT), subject)
        text = table(
            [(e["event_time"], e["purpose"], e["status"], e["valid_until"] or "-", e["notice_version"] or "-") for e in seen["events"]],
            ("event time", "purpose", "status", "valid until", "notice"),
        )
        verdicts = table(
            [(v["dataset"], v["policy"], v["purpose"], v["reason"]) for v in seen["now"]], ("dataset", "policy", "purpose", "now")
        )
        at.display.result(seen, f"{text}\n\n{verdicts}")


def stats(where: Where = None, as_json: Json = False) -> None:
    """Exact numbers of events by purpose and status (officers; the look is logged)."""
    with desk(as_json, where) as at:
        from engine import consents

        rows = consents.stats(at.workspace(Action.READ_EXACT))
        at.display.result({"stats": rows}, table([(r["purpose"], r["status"], r["events"]) for r in rows], ("purpose", "status", "events")))


def merge(
    subject: Subject,
    into: Annotated[str, typer.Option("--into", help="The subject key of the same person, which stands for both from now on.")],
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Record that two subject keys are one person: the strictest consent of both binds (officers)."""
    with desk(as_json, where) as at:
        from engine import identities

        _tell(at, identities.merge(at.workspace(Action.IDENTIFY), subject, into))
        at.display.result({"recorded": "merged"}, "recorded: merged; the first key is out, and the strictest consent of both binds")


def split(subject: Subject, where: Where = None, as_json: Json = False) -> None:
    """Record that a merged key is somebody else's after all: what was known until now binds both (officers)."""
    with desk(as_json, where) as at:
        from engine import identities

        identities.split(at.workspace(Action.IDENTIFY), subject)
        at.display.result({"recorded": "split"}, "recorded: split; what was said until now binds both, what comes goes to one")


def snapshot(where: Where = None, as_json: Json = False) -> None:
    """Copy the consent events into the columnar snapshot that admission reads; commands do so by themselves after large imports."""
    with desk(as_json, where) as at:
        from governance import consent_snapshot

        workspace = at.workspace(Action.SWEEP)
        with at.display.progress("snapshot", consent_snapshot.STEPS) as progress:
            consent_snapshot.refresh(workspace.store, workspace.hidden, progress)
        at.display.result({"snapshot": "made"}, "the snapshot holds every consent event up to now")
