"""One subject in one round: a file that shows its holder whether a partner used their rows, and nobody else.

It holds a leaf of the partner's record of whom the round considered, opened, and the log entry of what left in the round, which names
the record's root, with its proof under a signed checkpoint (C2SP tlog-proof). Verified with the file and the log's verifier key alone.
Not here: records, and who may see one (`engine.partners`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from audit import verify as verifier
from audit.commitments import check_opening
from audit.merkle import IntegrityError
from governance.verdicts import Reason

TYPE = "consentric.dev/round-opening/v1"

_VALUE = re.compile(r"(?s)(.*?)/round-(\d+)\n(.*)\n(\d+)")


def write(leaf: Mapping[str, Any], entry: str) -> bytes:
    """The file. `leaf`: value, salt, index and proof; `entry`: a tlog-proof of the round's entry."""
    return json.dumps({"type": TYPE, "opening": dict(leaf), "entry": entry}, ensure_ascii=False, indent=1).encode() + b"\n"


def verify(raw: bytes, key: verifier.Key) -> str:
    """What a file says. Raises IntegrityError.

    (1) The entry is in the log of this key; (2) it is of a round's vector, which left; (3) the leaf is one of the record that it names.
    """
    try:
        given = json.loads(raw)
        if given["type"] != TYPE:
            raise IntegrityError(f"is no {TYPE}")
        _, _, body = verifier.verify_proof(given["entry"].encode(), verifier.Trust((key,)))
        said, leaf = json.loads(body), given["opening"]
        facts = said["facts"]
        if (said["action"], facts["step"]) != ("collaboration.answered", "vector"):
            raise IntegrityError("the entry is not of what left in a round")
        of = _VALUE.fullmatch(leaf["value"])
        if of is None or int(of[2]) != facts["considered_since"]:
            raise IntegrityError("the leaf is of another record than the one that the entry names")
        hashes = [bytes.fromhex(each) for each in leaf["proof"]]
        root = bytes.fromhex(facts["consent_root"])
        check_opening(leaf["value"], bytes.fromhex(leaf["salt"]), leaf["index"], hashes, facts["consent_leaves"], root)
        reason, number, name = Reason(int(of[4])), facts["round"], facts["collaboration"]
    except verifier.Broken as error:
        raise IntegrityError(str(error)) from None
    except verifier.MALFORMED:
        raise IntegrityError(f"is no {TYPE}, or was changed") from None
    used = "was used" if reason is Reason.ADMITTED else f"was left out: {reason.name.lower().replace('_', ' ')}"
    return f"in round {number} of `{name}`, `{of[3]}` {used}"
