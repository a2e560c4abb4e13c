"""An answer as a folder that somebody who trusts nobody here can check with `audit/verify.py` alone.

It proves the entries, passports and leaves that the answer rests on. The sentences of the answer are the workspace's own statement,
to which an entry commits: nobody can change them afterwards, and whether they follow from what is proven, the reader judges. What a
build keeps of itself is in it only for whoever may read segments; that a folder was written is an entry too, before it is there.

answer.json              the answer, and what opens the commitment to it in the newest entry
entry-INDEX.tlog-proof   each entry that it rests on, under the newest checkpoint (C2SP tlog-proof)
passport-BUILD.json      each passport that it rests on
opening-BUILD.json       what a build did with the subject that was asked for, and opening-BUILD-2.json by another key of the same person:
                         for them, and nobody else's is in it
*.json                   documents whose digests stand in those entries
log.policy               the log's keys (C2SP tlog-policy): an auditor compares them with those that they have from elsewhere
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from audit.proof import entry_proof, opening
from engine import considered, copies, roles
from engine.files import draft_folder, flush_folder, place_folder
from engine.questions.asking import Asked
from engine.release import PASSPORT
from engine.workspace import Workspace, WorkspaceError
from governance.builds import BuildId
from governance.roles import Action

ANSWER, POLICY = "answer.json", "log.policy"

_OPTIONS = {"entry": "--proof", "passport": "--passport", "opening": "--opening"}
"""Of the verifier, by how the name of a file begins."""

_OF_BUILDS = "facts", "passport", "opening"
"""Files that say what a build keeps of itself."""


@dataclass(frozen=True, slots=True)
class Proof:
    """`command`: what checks the folder; `left_out`: files that whoever asked may not read."""

    command: str
    left_out: tuple[str, ...]


def check_target(workspace: Workspace, to: Path) -> None:
    """Raises WorkspaceError where a proof cannot be put: inside the workspace, or where something is."""
    workspace.check_leaving(to)
    if to.exists() or not to.resolve().parent.is_dir():
        raise WorkspaceError(f"`--proof`: got `{to}`, expected the name of a new folder, in one that exists")


def prove(workspace: Workspace, asked: Asked, to: Path) -> Proof:
    """Write the folder, for its owner alone. Raises IntegrityError where an entry does not verify."""
    found = dict(_files(workspace, asked)) | dict(asked.answer.documents)
    shown = roles.may(workspace, Action.READ_SEGMENTS)
    files = {name: text for name, text in found.items() if shown or name.split("-")[0] not in _OF_BUILDS}
    with draft_folder(to.resolve()) as partial:
        for name, text in files.items():
            (partial / name).write_text(text, encoding="utf-8")
            (partial / name).chmod(0o600)
        flush_folder(partial, "answer-proof")
        with workspace.store.transaction("evidence") as write:
            digest = hashlib.sha256(files[ANSWER].encode()).hexdigest()
            write.record("evidence.exported", kind="answer", format="folder", sha256=digest, question=asked.question.id)
        place_folder(partial, to.resolve(), "answer-proof")
    given = [f"{_OPTIONS[kind]} {name}" for name in files if (kind := name.split("-")[0]) in _OPTIONS]
    return Proof(f"python verify.py --trust {POLICY} {' '.join(given)}", tuple(name for name in found if name not in files))


def _files(workspace: Workspace, asked: Asked) -> Iterator[tuple[str, str]]:
    """Name and text of each file."""
    answer, checkpoint = asked.answer, workspace.checkpoint()
    assert checkpoint is not None  # the answer's own entry is under it
    yield ANSWER, json.dumps(asked.as_data(), ensure_ascii=False, indent=2) + "\n"
    yield POLICY, "".join(f"log {key}\n" for key in workspace.keys.verifier_keys) + "quorum none\n"
    with workspace.store.read() as session:
        for index in sorted({asked.entry, *(one.index for one in answer.evidence)}):
            yield f"entry-{index}.tlog-proof", entry_proof(session.connection(), index, checkpoint)
    for build in answer.passports:
        yield f"passport-{build}.json", _passport(workspace, build).decode()
    before: Counter[str] = Counter()
    for build, key in answer.openings:
        path = copies.folder(workspace, BuildId(build)) / considered.CONSIDERED
        if leaf := considered.opening(path, build, key):
            before[build] += 1
            more = f"-{before[build]}" if before[build] > 1 else ""
            yield f"opening-{build}{more}.json", opening(leaf.as_data(), _passport(workspace, build)).decode()


def _passport(workspace: Workspace, build: str) -> bytes:
    return (copies.released(workspace, BuildId(build)) / PASSPORT).read_bytes()
