"""An answer as a folder that somebody who trusts nobody here can check with `audit/verify.py` alone.

It proves that this answer is the one that was given, sentence by sentence, and the entries, passports, documents, consent events and
leaves that it rests on; whether it follows from them, its reader judges. What a build keeps of itself is in it only for whoever may
read segments; that a folder was written is an entry too, before it is there.

README.txt               which file is what, and the command that checks them
answer.json              the answer, the salt of the commitment to it, and the proof of the entry that commits to it
entry-INDEX.tlog-proof   each entry that it rests on, under the newest checkpoint (C2SP tlog-proof)
passport-BUILD.json      each passport that it rests on
opening-BUILD.json       what a build did with the subject that was asked for, and opening-BUILD-2.json by another key of the same person;
                         opening-BUILD-round-N.json of a round with partners
consent-INDEX.json       what the subject said, as the entry commits to it, and consent-INDEX-2.json of the same batch: as openings, these
                         are for them, and nobody else's is in them
*.json, *.jsonl          documents whose digests, or those of their lines, stand in those entries
log.policy               the log's keys (C2SP tlog-policy): an auditor compares them with those that they have from elsewhere
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from sqlmodel import Session

from audit import log as audit_log
from audit.proof import entry_proof, opening
from engine import considered, copies, roles
from engine.files import draft_folder, flush_folder, place_folder
from engine.questions.asking import Asked, of_build
from engine.workspace import Workspace, WorkspaceError
from governance import consent_batches
from governance.builds import BuildId
from governance.roles import Action

README, ANSWER, POLICY = "README.txt", "answer.json", "log.policy"

_OPTIONS = {"answer.json": "opening", "entry": "proof", "passport": "passport", "opening": "opening", "consent": "opening"}
"""Of the verifier, by how the name of a file begins."""

_READ_ME = """\
An answer of a compliance officer, as evidence that needs no trust in whoever gave it.

  answer.json       the answer, and what shows that the log commits to it
  entry-*           entries of the log that it rests on
  passport-*        passports of builds that it rests on
  opening-*         what a build, or a round with partners, did with the subject that was asked for
  consent-*         what this subject said
  other files       documents whose digests stand in the answer
  log.policy        the keys of the log: compare them with those that you have from elsewhere

To check all of it, offline, with verify.py of Consentric in this folder (Python 3.11 and `pip install cryptography`):

  {command}

It shows that nothing here was changed since the answer was given, and what the log holds. Whether the answer follows from that, you judge.
"""


@dataclass(frozen=True, slots=True)
class Proof:
    """`command`: what checks the folder; `left_out`: files that whoever asked may not read; `closed`: entries of consent events that
    nobody can open, because they were erased since, or their batch is too large to be hashed again."""

    command: str
    left_out: tuple[str, ...]
    closed: tuple[int, ...]


def check_target(workspace: Workspace, to: Path) -> None:
    """Raises WorkspaceError where a proof cannot be put: inside the workspace, or where something is."""
    workspace.check_leaving(to)
    if to.exists() or not to.resolve().parent.is_dir():
        raise WorkspaceError(f"`--proof`: got `{to}`, expected the name of a new folder, in one that exists")


def prove(workspace: Workspace, asked: Asked, to: Path) -> Proof:
    """Write the folder, for its owner alone. Raises IntegrityError where an entry does not verify."""
    found = dict(_files(workspace, asked)) | dict(asked.answer.documents)
    shown = roles.may(workspace, Action.READ_SEGMENTS)
    files = {name: text for name, text in found.items() if shown or not of_build(name)}
    given = [f"--{_OPTIONS[kind]} {name}" for name in files if (kind := name.split("-")[0]) in _OPTIONS]
    command = f"python verify.py --trust {POLICY} {' '.join(given)}"
    files[README] = _READ_ME.format(command=command)
    with draft_folder(to.resolve()) as partial:
        for name, text in files.items():
            (partial / name).write_text(text, encoding="utf-8")
            (partial / name).chmod(0o600)
        flush_folder(partial, "answer-proof")
        with workspace.store.transaction("evidence") as write:
            digest = hashlib.sha256(files[ANSWER].encode()).hexdigest()
            write.record("evidence.exported", kind="answer", format="folder", sha256=digest, question=asked.question.id)
        place_folder(partial, to.resolve(), "answer-proof")
    said = Counter(index for index, _ in asked.answer.said)
    closed = tuple(index for index, many in said.items() if sum(name.startswith(f"consent-{index}") for name in found) < many)
    return Proof(command, (*(name for name in found if name not in files), *asked.withheld), closed)


def _files(workspace: Workspace, asked: Asked) -> Iterator[tuple[str, str]]:
    """Name and text of each file."""
    answer, checkpoint = asked.answer, workspace.checkpoint()
    assert checkpoint is not None  # the answer's own entry is under it
    needed = {asked.entry, *(one.index for one in answer.evidence), *(index for index, *_ in answer.openings)}
    with workspace.store.read() as session:
        proofs = {index: entry_proof(session.connection(), index, checkpoint) for index in sorted(needed)}
        yield ANSWER, opening({"value": asked.said(), "salt": asked.salt.hex()}, proofs[asked.entry])
        yield POLICY, "".join(f"log {key}\n" for key in workspace.keys.verifier_keys) + "quorum none\n"
        for index, proof in proofs.items():
            yield f"entry-{index}.tlog-proof", proof
        yield from _said(session, asked, proofs)
    for build in answer.passports:
        yield f"passport-{build}.json", (copies.released(workspace, BuildId(build)) / copies.PASSPORT).read_text(encoding="utf-8")
    before: Counter[str] = Counter()
    for index, of, key in answer.openings:
        if leaf := considered.opening(_record(workspace, of), of, key):
            before[of] += 1
            yield f"opening-{of.replace('/', '-')}{_more(before[of])}.json", opening(leaf.as_data(), proofs[index])


def _record(workspace: Workspace, of: str) -> Path:
    """Whom a build considered, or one of its rounds with partners."""
    build, _, round = of.partition("/round-")
    if not round:
        return copies.folder(workspace, BuildId(build)) / considered.CONSIDERED
    from engine.partners.attendance import record_of  # with what builds need, which few answers do

    return record_of(workspace, BuildId(build), int(round))


def _said(session: Session, asked: Asked, proofs: dict[int, str]) -> Iterator[tuple[str, str]]:
    """Consent events that the answer rests on, batch by batch."""
    for index, events in groupby(sorted(asked.answer.said), key=lambda each: each[0]):
        (entry,) = audit_log.entries(session.connection(), index, index + 1)
        facts, numbers = entry.parsed["facts"], [number for _, number in events]
        opened = consent_batches.openings(session, facts["batch"], facts["events"], numbers)
        for place, number in enumerate(sorted(opened), 1):
            yield f"consent-{index}{_more(place)}.json", opening(opened[number].as_data(), proofs[index])


def _more(place: int) -> str:
    return f"-{place}" if place > 1 else ""
