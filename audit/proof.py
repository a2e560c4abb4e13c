"""What is taken from the log for somebody who has nothing else of it: an entry (C2SP tlog-proof), and what an entry commits to.

A `.tlog-proof` holds the entry itself as extra data, its place, the hashes that lead from it to a root, and the checkpoint of that
root with what witnesses signed of it. An opening holds that of an entry with a salted commitment, and what is committed to: a leaf of
whom a build considered, a leaf of a batch of consent events, or an officer's answer. Whoever holds a leaf sees nobody else's. Both
verify with `audit.verify` alone.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from audit import log, verify
from audit.checkpoint import Checkpoint
from audit.merkle import IntegrityError

ENDING = ".tlog-proof"


def entry_proof(connection: Connection, index: int, checkpoint: Checkpoint) -> str:
    """That entry `index` is under a checkpoint. Raises IntegrityError if it isn't."""
    if not 0 <= index < checkpoint.size:
        raise IntegrityError(f"entry {index} is not under the checkpoint of size {checkpoint.size}")
    log.check_against(connection, checkpoint)
    (entry,) = log.entries(connection, index, index + 1)
    hashes = [base64.b64encode(each).decode() for each in log.inclusion_proof(connection, index, checkpoint.size)]
    lines = (verify.PROOF, f"extra {base64.b64encode(entry.body).decode()}", f"index {index}", *hashes)
    return "".join(f"{line}\n" for line in lines) + f"\n{checkpoint.note}"


def opening(opened: Mapping[str, Any], proof: str) -> str:
    """What an entry commits to, as a file: `opened` has value and salt, of a leaf its index and proof too; `proof` is the entry's."""
    return json.dumps({"type": verify.OPENING, "opening": dict(opened), "proof": proof}, ensure_ascii=False, indent=1) + "\n"
