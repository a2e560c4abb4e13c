"""audit ask."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated

import typer

from engine.commands.shared import Json, Where, desk
from engine.display import table


def ask(
    question: Annotated[str | None, typer.Argument(help="Which question; without one, all are listed.")] = None,
    segment: Annotated[str | None, typer.Option("--segment", help="A segment, or the id of one of its builds.")] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="The subject key, as in the data.")] = None,
    on: Annotated[dt.datetime | None, typer.Option("--on", formats=["%Y-%m-%d"], help="As of the end of this day, in UTC.")] = None,
    column: Annotated[str | None, typer.Option("--column", help="TABLE.COLUMN, as in the contract.")] = None,
    policy: Annotated[str | None, typer.Option("--policy", help="A policy of the workspace.")] = None,
    collaboration: Annotated[str | None, typer.Option("--collaboration", help="A joint training, as its contract names it.")] = None,
    round: Annotated[int | None, typer.Option("--round", help="Of the collaboration, from 1 on.")] = None,
    to: Annotated[Path | None, typer.Option("--proof", help="A folder to write, which audit/verify.py can check.")] = None,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Answer a question of an officer, auditor or regulator, with the entries of the log that the answer rests on."""
    with desk(as_json, where) as at:
        from engine.questions import asking, proving, register
        from engine.questions.question import Asking

        if question is None:
            rows = register.listed()
            at.display.result({"questions": rows}, table([[*row.values()] for row in rows], [*rows[0]]))
            return
        found = register.find(question)
        given = Asking(segment, subject, on.date() if on else None, column, policy, collaboration, round)
        asking.check(found, given)
        workspace = at.workspace(found.action)
        if to is not None:
            proving.check_target(workspace, to)
        asked = asking.ask(workspace, found, given)
        at.display.result(asked.as_data(), asked.answer.text())
        if to is not None:
            proof = proving.prove(workspace, asked, to)
            at.display.note(
                "it proves that this answer was given, word by word, and what it rests on; whether it follows from that, its reader judges"
            )
            if proof.left_out:
                at.display.note(f"left out, for whoever may `read_segments`: {', '.join(proof.left_out)}")
            if proof.closed:
                why = "their batch is too large to be hashed in an answer, or they were erased since"
                at.display.note(f"not opened are consent events of entries {', '.join(map(str, proof.closed))}: {why}")
            at.display.note(f"the proof is in `{to}`; in there, with audit/verify.py beside: {proof.command}")
