"""The command line: parses, calls, prints. Logic lives elsewhere, and heavy imports inside the commands."""

from __future__ import annotations

import sys

import typer

from engine.commands import consent, evidence, segments, setup

app = typer.Typer(
    name="consentric",
    help="Governed segmentation: purpose, policy and consent decide which rows and columns exist; models leave through one noisy door.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
setup.attach(app)
consent.attach(app)
segments.attach(app)
evidence.attach(app)


def main() -> None:
    """Entry point of `consentric`: runs a command and turns what it raised into one clear error and the right exit code."""
    try:
        app()
    except KeyboardInterrupt:
        print("interrupted; what was spent stays spent, nothing was released", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
