"""The command line: parses, calls, prints. Logic lives elsewhere, and heavy imports inside the commands."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import click
import typer
from typer.core import TyperGroup

from engine.commands import collaboration, consent, evidence, keys, lifecycle, partner, policy, rights, roles, segments, setup


class Commands(TyperGroup):
    """All commands; with --json, wrong usage is JSON on stdout too, beside the words on stderr."""

    def make_context(self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any) -> click.Context:
        """Reads the words of the command line."""
        as_json = "--json" in args
        with _told(as_json):
            context = super().make_context(info_name, args, parent, **extra)
        context.obj = as_json
        return context

    def invoke(self, ctx: click.Context) -> Any:
        """Finds the command, reads what it is given, and runs it."""
        with _told(ctx.obj):
            return super().invoke(ctx)


@contextmanager
def _told(as_json: bool) -> Iterator[None]:
    try:
        yield
    except click.UsageError as error:
        if as_json:
            print(json.dumps({"exit": error.exit_code, "error": error.format_message()}, indent=2, ensure_ascii=False))
        raise


app = typer.Typer(
    name="consentric",
    cls=Commands,
    help="Governed segmentation: purpose, policy and consent decide which rows and columns exist; models leave through one noisy door.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
setup.attach(app)
policy.attach(app)
consent.attach(app)
segments.attach(app)
lifecycle.attach(app)
evidence.attach(app)
rights.attach(app)
roles.attach(app)
keys.attach(app)
partner.attach(app)
collaboration.attach(app)


_COLLECTED_AFTER = 100_000
"""Objects made since the last look at what nobody holds any more. Libraries make some hundred thousand while they load, nearly all to
stay, and Python's 700 would look through these again and again: a tenth of a command's time."""


class Unused:
    """What nothing here uses, as if it were not installed: pyarrow loads pandas, where it finds it, with the first value that it is given,
    and that takes as long as many a command. Without the bases that such finders have, which take a while to load too."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Finds pandas alone."""
        return ModuleSpec(fullname, self) if fullname == "pandas" else None  # type: ignore[arg-type]  # has what a loader must

    def create_module(self, spec: ModuleSpec) -> None:
        """As Python makes it."""

    def exec_module(self, module: ModuleType) -> None:
        """Raises ImportError, which whoever can do without expects."""
        raise ImportError(f"`{module.__name__}` is left out of the command line", name=module.__name__)


def main() -> None:
    """Entry point of `consentric`: runs a command and turns what it raised into one clear error and the right exit code."""
    gc.set_threshold(_COLLECTED_AFTER)
    sys.meta_path.insert(0, Unused())
    try:
        app()
    except KeyboardInterrupt:
        print("interrupted; what was spent stays spent, nothing was released", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
