"""How a question is asked: whoever asks is authorised, the question is in the log before anything is read, its answer before it is shown.

The log says which question was asked and of what, never of whom. Of the answer it holds a salted commitment: whoever is shown the
answer can tell that it is the one that was given, and nobody else learns anything from the entry.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from typing import Any

from sqlmodel import select

from audit.commitments import SALT, commit
from engine import roles
from engine.prepared import contracts
from engine.questions.archive import Archive
from engine.questions.question import Answer, Asking, Given, Question
from engine.workspace import Workspace, WorkspaceError
from governance import partnerships
from governance.documents import Kind
from governance.roles import Action
from governance.tables import BuildRow, DocumentRow
from policies.contract import Contract

_OF_BUILDS = "facts", "passport", "opening"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that was answered: the entry that commits to the answer, and the salt that opens it. `withheld`: names of documents that
    the answer rests on, which whoever asked may not read."""

    question: Question
    given: Asking
    answer: Answer
    entry: int
    salt: bytes
    withheld: tuple[str, ...] = ()

    def value(self) -> str:
        """What the entry commits to: `said`, as JSON with sorted keys."""
        return json.dumps(self.said(), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    def said(self) -> dict[str, Any]:
        """Question, what was given and the answer, as JSON values."""
        question = {"question": self.question.id, "asks": self.question.asks, "asked": _whole(self.given)}
        return {**question, "answer": self.answer.as_data()}

    def as_data(self) -> dict[str, Any]:
        """As JSON, with what opens the commitment."""
        logged = {"entry": self.entry, "salt": self.salt.hex(), "commitment": commit(self.value(), self.salt).hex()}
        return {**self.said(), "logged": logged}


def ask(workspace: Workspace, question: Question, given: Asking) -> Asked:
    """Answer a question. Raises Refused; WorkspaceError for what is missing, is not the question's, or is unknown."""
    check(question, given)
    about = {"question": question.id, **given.public()}
    for action in {question.action, *([Action.READ_SUBJECT] if given.subject is not None else [])}:
        roles.authorise(workspace, action)
    _known(workspace, given)
    with workspace.store.transaction("question") as write:
        write.record("question.asked", **about)
    with workspace.store.read() as session:
        answer = question.answer(Archive(workspace, session, given), given)
    withheld = () if roles.may(workspace, Action.READ_SEGMENTS) else tuple(filter(of_build, answer.documents))
    answer = replace(answer, documents={name: text for name, text in answer.documents.items() if name not in withheld})
    draft = Asked(question, given, answer, -1, os.urandom(SALT))
    with workspace.store.transaction("answer") as write:
        entry = write.record("question.answered", **about, answer=commit(draft.value(), draft.salt).hex())
    return Asked(question, given, answer, entry, draft.salt, withheld)


def of_build(name: str) -> bool:
    """Whether a file, by its name, says what a build keeps of itself, which is for whoever may read segments."""
    return name.split("-")[0] in _OF_BUILDS


def check(question: Question, given: Asking) -> None:
    """Raises WorkspaceError where an argument is missing, empty, or means nothing to the question."""
    if missing := sorted(question.needs - given.given()):
        raise WorkspaceError(f"question `{question.id}`: got no {_options(missing)}, expected {_options(sorted(question.needs))}")
    if useless := sorted(given.given() - question.needs - question.takes):
        expected = _options(sorted(question.needs | question.takes)) or "no option"
        raise WorkspaceError(f"question `{question.id}`: got {_options(useless)}, expected {expected}")
    for each in Given:
        if (value := getattr(given, each)) == "":
            raise WorkspaceError(f"`--{each}`: got nothing, expected a value")
        if isinstance(value, str) and value != value.encode(errors="ignore").decode():
            raise WorkspaceError(f"`--{each}`: got bytes that are no UTF-8, expected a text")


def _known(workspace: Workspace, given: Asking) -> None:
    """Only names that are known get into the log: a subject key in the wrong place would never leave it. Raises WorkspaceError."""
    with workspace.store.read() as session:
        built = session.exec(select(BuildRow.id, BuildRow.segment)).all()
        kept = set(session.exec(select(DocumentRow.name).where(DocumentRow.kind == Kind.POLICY)))
    segments = {segment for _, segment in built} | {*workspace.documents("segments")}
    if given.segment is not None and given.segment not in segments | {build for build, _ in built}:
        raise WorkspaceError(f"`--segment`: got `{given.segment}`, expected a segment that was built, or a build: {sorted(segments)}")
    _known_together(workspace, given)
    policies = kept | {*workspace.documents("policies")}
    if given.policy is not None and given.policy not in policies:
        raise WorkspaceError(f"`--policy`: got `{given.policy}`, expected one of {sorted(policies)}")
    if given.column is not None and not any(_has(contract, given.column) for contract in contracts(workspace)):
        raise WorkspaceError(f"`--column`: got `{given.column}`, expected TABLE.COLUMN of a contract of the workspace")


def _known_together(workspace: Workspace, given: Asking) -> None:
    with workspace.store.read() as session:
        joined = {each.name for each in partnerships.partnerships(session)}
    known = joined | {path.stem for path in (workspace.root / "collaborations").glob("*.json")}
    if given.collaboration is not None and given.collaboration not in known:
        expected = f"expected one that was joined or drawn up here: {sorted(known)}"
        raise WorkspaceError(f"`--collaboration`: got `{given.collaboration}`, {expected}")
    if given.round is not None and given.round < 1:
        raise WorkspaceError(f"`--round`: got {given.round}, expected 1 or more")


def _has(contract: Contract, column: str) -> bool:
    table, _, name = column.partition(".")
    return table in contract.tables and name in contract.tables[table].columns


def _options(several: list[Given]) -> str:
    return ", ".join(f"`--{each}`" for each in several)


def _whole(given: Asking) -> dict[str, str]:
    return given.public() | ({Given.SUBJECT.value: given.subject} if given.subject is not None else {})
