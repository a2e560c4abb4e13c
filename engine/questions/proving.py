"""An answer as a folder that somebody who trusts nobody here can check with `audit/verify.py` alone.

answer.json              the answer, and what opens the commitment to it in the newest entry
entry-INDEX.tlog-proof   each entry that it rests on, under the newest checkpoint (C2SP tlog-proof)
passport-BUILD.json      each passport that it rests on
opening-BUILD.json       what a build did with the subject that was asked for: for them, and nobody else's is in it
*.json                   documents whose digests stand in those entries
log.policy               the log's keys (C2SP tlog-policy): an auditor compares them with those that they have from elsewhere
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from audit.proof import entry_proof, opening
from engine import considered, copies
from engine.files import draft_folder, flush_folder, place_folder
from engine.questions.asking import Asked
from engine.release import PASSPORT
from engine.workspace import Workspace, WorkspaceError
from governance.builds import BuildId

ANSWER, POLICY = "answer.json", "log.policy"

_OPTIONS = {"entry": "--proof", "passport": "--passport", "opening": "--opening"}
"""Of the verifier, by how the name of a file begins."""


def check_target(workspace: Workspace, to: Path) -> None:
    """Raises WorkspaceError where a proof cannot be put: inside the workspace, or where something is."""
    workspace.check_leaving(to)
    if to.exists() or not to.resolve().parent.is_dir():
        raise WorkspaceError(f"`--proof`: got `{to}`, expected the name of a new folder, in one that exists")


def prove(workspace: Workspace, asked: Asked, to: Path) -> str:
    """Write the folder, for its owner alone; gives the command that checks it. Raises IntegrityError where an entry does not verify."""
    files = dict(_files(workspace, asked)) | dict(asked.answer.documents)
    with draft_folder(to.resolve()) as partial:
        for name, text in files.items():
            (partial / name).write_text(text, encoding="utf-8")
            (partial / name).chmod(0o600)
        flush_folder(partial, "answer-proof")
        place_folder(partial, to.resolve(), "answer-proof")
    given = [f"{_OPTIONS[kind]} {name}" for name in files if (kind := name.split("-")[0]) in _OPTIONS]
    return f"python verify.py --trust {POLICY} {' '.join(given)}"


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
    for build in answer.openings:
        path = copies.folder(workspace, BuildId(build)) / considered.CONSIDERED
        if leaf := considered.opening(path, build, asked.given.subject or ""):
            told = {"value": leaf.value, "salt": leaf.salt.hex(), "index": leaf.index, "proof": [each.hex() for each in leaf.proof]}
            yield f"opening-{build}.json", opening(told, _passport(workspace, build)).decode()


def _passport(workspace: Workspace, build: str) -> bytes:
    return (copies.released(workspace, BuildId(build)) / PASSPORT).read_bytes()
