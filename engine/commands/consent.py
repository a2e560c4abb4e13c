"""consent import | grant | withdraw | show | stats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.commands.shared import Json, Where, desk
from engine.display import table
from governance.roles import Action

Subject = Annotated[str, typer.Argument(help="The subject key, as in the data.")]


def attach(app: typer.Typer) -> None:
    """Add the commands of this topic."""
    consent = typer.Typer(help="Consent events: append-only, with event time and received time.", no_args_is_help=True)
    consent.command("import")(import_file)
    consent.command("grant")(grant)
    consent.command("withdraw")(withdraw)
    consent.command("show")(show)
    consent.command("stats")(stats)
    app.add_typer(consent, name="consent")


def import_file(
    file: Annotated[Path, typer.Argument(help="CSV, Parquet or JSONL with subject, purpose, status and event_time.")],
    again: Annotated[bool, typer.Option("--again", help="Import a file although an identical one was imported before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file and import nothing.")] = False,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Import consent events, all or nothing."""
    with desk(as_json, where) as at:
        from engine import consents

        count = consents.import_file(at.workspace(Action.IMPORT_CONSENT), file, again=again, dry_run=dry_run)
        verb = "would be imported" if dry_run else "imported, in one entry of the log"
        at.display.result({"events": count, "imported": not dry_run}, f"{count:,} events {verb}")


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

        if consents.withdraw(at.workspace(Action.RECORD_CONSENT), subject, purpose):
            at.display.note(
                "no event was held for this subject key before; keys are compared exactly, so look whether it is as in the data"
            )
        at.display.result(
            {"recorded": "withdrawn"},
            f"recorded: withdrawn for {'all purposes' if purpose == '*' else purpose}\n"
            "in effect at once for builds, releases, member lists and exports; noisy counts follow with the next snapshot",
        )


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
