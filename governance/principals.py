"""Who acts: the operating system's user, or in demo workspaces whoever `CONSENTRIC_UNSAFE_PRINCIPAL` names."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass

UNSAFE_VARIABLE = "CONSENTRIC_UNSAFE_PRINCIPAL"


class PrincipalError(Exception):
    """The principal cannot be established here."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A person who acts. `unsafe` marks a name that was claimed and not proved; every entry says so."""

    name: str
    unsafe: bool = False


def current(environment: Mapping[str, str], demo: bool) -> Principal:
    """The acting principal. Raises PrincipalError where the unsafe variable is set outside a `demo` workspace."""
    if claimed := environment.get(UNSAFE_VARIABLE):
        if not demo:
            raise PrincipalError(f"`{UNSAFE_VARIABLE}` is accepted by workspaces marked `demo` only; unset it")
        return Principal(claimed, unsafe=True)
    uid = os.getuid()
    try:
        return Principal(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return Principal(f"uid:{uid}")
