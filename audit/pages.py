"""Pages: one way to make them all, autoescaped, so that nothing that is told can become markup."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Template


@cache
def template(name: str, *filters: Callable[..., object], **known: object) -> Template:
    """A template of this folder; `filters` go by their own names in it, and `known` by theirs."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("audit"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update({each.__name__: each for each in filters})
    environment.globals.update(known)
    return environment.get_template(name)
