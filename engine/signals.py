"""Consent signals on the command line: for whom they are read, what one of them says, and the table of what they mean."""

from __future__ import annotations

import re
from typing import Any

from engine.workspace import Workspace, WorkspaceError
from governance.signals import events, purposes, telling
from governance.signals.bits import SignalError
from governance.signals.events import Kind
from governance.signals.meaning import Statement
from governance.signals.purposes import CHOICES, GPC, UNRELATED, Controller
from policies.jurisdictions import known

_SHAPES = (
    (Kind.RECORD, r"\s*\{.*"),
    (Kind.GPC, r"[01]|true|false"),
    (Kind.USP, r"[0-9].{0,4}"),
    (Kind.GPP, r"D.*"),
    (Kind.TCF, r".*"),
)
"""How each kind looks, tried in this order."""


def controller(workspace: Workspace | None, vendor: int | None = None) -> Controller:
    """For whom signals are read: the vendor of the settings, the controllers that the workspace's contracts name, and what its
    policies say that a purpose needs.

    Raises DocumentError: a policy that cannot be read may need more than the others.
    """
    if workspace is None:
        return Controller(vendor, purposes.needs())
    policies = [workspace.policy(name) for name in workspace.documents("policies")]
    named = [{use: purpose.tcf for use, purpose in policy.purposes.items()} for policy in policies]
    names = frozenset(workspace.contract(name).controller for name in workspace.documents("contracts"))
    return Controller(vendor or workspace.settings.vendor, purposes.needs(named), names)


def decode(text: str, kind: str | None, who: Controller, jurisdiction: str | None) -> dict[str, Any]:
    """What a signal holds and says: `kind`, `decoded`, `lines` for people, and `says`. Raises WorkspaceError where it cannot be read."""
    if jurisdiction is not None and not known(jurisdiction):
        raise WorkspaceError(f"`--jurisdiction`: got `{jurisdiction}`, expected a code of ISO 3166 such as `de` or `us-ca`, or `eu`")
    if kind is not None and kind not in [*Kind]:
        raise WorkspaceError(f"`--kind`: got `{kind}`, expected one of {', '.join(Kind)}")
    which = Kind(kind) if kind else next(each for each, shape in _SHAPES if re.fullmatch(shape, text, re.DOTALL))
    try:
        signal = events.read(which, text)
        said = events.says(signal, who, jurisdiction)
    except SignalError as error:
        raise WorkspaceError(f"`{which}`: {error}") from None
    return {
        "kind": which.value,
        "vendor": who.vendor,
        "decoded": telling.plain(signal),
        "lines": [*telling.lines(signal)],
        "says": [_statement(each) for each in said],
    }


def mapping(who: Controller) -> list[dict[str, str]]:
    """Which data uses each signal speaks of."""
    tcf = [{"signal": "tcf, gpp", "says": f"purposes {_listed(needed)}", "data_use": use} for use, needed in who.needs]
    told = [
        {"signal": "tcf, gpp", "says": f"special purpose {number}, notice alone", "data_use": use}
        for use, number in purposes.special_uses()
    ]
    us = [{"signal": "gpp", "says": field, "data_use": use} for field, uses in {**CHOICES, **UNRELATED}.items() for use in uses]
    usp = [{"signal": "usp", "says": "opt-out of sale", "data_use": use} for use in CHOICES["SharingOptOut"]]
    gpc = [{"signal": "gpc", "says": f"objection ({place})", "data_use": use} for place, (uses, _) in GPC.items() for use in uses]
    return tcf + told + us + usp + gpc


def _statement(said: Statement) -> dict[str, Any]:
    return {
        "data_use": said.use,
        "status": said.status.value,
        "method": said.method,
        "jurisdiction": said.jurisdiction,
        "notice": said.notice,
        "because": said.decoded,
    }


def _listed(numbers: tuple[int, ...]) -> str:
    return " and ".join(map(str, numbers))
