"""A passport of a segment or of a joint model: as the stand-alone verifiers see it, and then beside the log of this workspace."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection

from audit import joint_passport as joint_passports
from audit import log as audit_log
from audit import passport as passports
from audit import verify as verifier
from audit.joint_verify import verify_joint
from audit.merkle import IntegrityError
from engine.workspace import Workspace
from governance import entries
from governance.builds import Status

LEARNED = "collaboration.learned"
"""Action of the entry of a joint model's result, before anybody is told it."""


def findings(workspace: Workspace, envelope: bytes, place: str, trust: verifier.Trust) -> list[verifier.Finding]:
    """What is wrong with a passport by itself, or if nothing is, what it says otherwise than the log of this workspace."""
    found: list[verifier.Finding] = []
    joint = joint_passports.is_joint(envelope)
    with verifier.found(found, place):
        (verify_joint if joint else verifier.verify_passport)(envelope, trust)
    if found:
        return found
    try:
        held = (joint_passports if joint else passports).contents(envelope)[1]
    except IntegrityError as error:
        return [verifier.Finding(place, str(error))]
    with workspace.store.read() as session:
        connection = session.connection()
        try:
            audit_log.check_against(connection, workspace.believed(held.checkpoint))
        except IntegrityError as error:
            return [verifier.Finding(place, f"is not of this log: {error}")]
        problems = (_joint if joint else _segment)(connection, envelope)
        return [verifier.Finding(place, problem) for problem in problems]


def _segment(connection: Connection, envelope: bytes) -> Iterator[str]:
    """Digests of spec, policy and contract are those that its build was recorded with."""
    (signed, held), made = passports.contents(envelope), f"build.{Status.QUARANTINED}"
    before = (entry.parsed for entry in audit_log.backwards(connection, held.index))
    facts: dict[str, Any] = next((e["facts"] for e in before if e["action"] == made and e["facts"]["build"] == signed.build), {})
    for what in ("spec", "policy", "contract"):
        if facts.get(what) != f"sha256:{getattr(signed, what)}":
            yield f"its {what} is not the one that its build was recorded with"


def _joint(connection: Connection, envelope: bytes) -> Iterator[str]:
    """Rounds and model are those that were recorded when it was learned."""
    signed, _ = joint_passports.contents(envelope)
    learned = entries.find(connection, LEARNED, holding=(entries.pair("contract", f"sha256:{signed.contract}"),), last=1)
    facts: dict[str, Any] = learned[0].parsed["facts"] if learned else {}
    if (facts.get("rounds"), facts.get("outcome")) != (signed.rounds, f"sha256:{signed.outcome}"):
        yield "its rounds and its model are not those that were recorded when it was learned"
