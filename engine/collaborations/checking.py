"""A joint passport checked by whoever it was handed to: with the file, the key of the coordinator's log, and what they hold themselves.

That is the digest of the contract that they signed, and transcripts of partners: each must go on from the head that its partner signed.
No workspace is needed, and nothing is believed of the coordinator that a partner signed otherwise (`audit.joint_verify`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from audit import joint_passport as passports
from audit.checkpoint import Verifier
from audit.joint_passport import JointPassport
from audit.joint_verify import exact
from audit.merkle import IntegrityError
from audit.wording import number
from engine.workspace import WorkspaceError, given
from federated import transcript
from federated.messages import Step
from policies.documents import Digest

SHOWN = 3
"""Findings about a transcript that one error names."""


def check(file: Path, key: str, digest: str | None, transcripts: Sequence[Path]) -> tuple[dict[str, Any], str]:
    """As data and in words; of each transcript, in how many rounds a vector left.

    Raises IntegrityError for what does not verify, WorkspaceError for what cannot be read.
    """
    try:
        verifier = Verifier.parse(key)
    except ValueError as error:
        raise WorkspaceError(f"`--key`: {error}") from None
    try:
        passport = passports.read(given(file), verifier)
    except IntegrityError as error:
        raise IntegrityError(f"`{file}`: {error}") from None
    if digest is not None and digest != f"sha256:{passport.contract}":
        raise IntegrityError(f"`{file}`: another contract, got `sha256:{passport.contract}`, expected `{digest}`")
    gone_on = dict(_goes_on(passport, path) for path in transcripts)
    data = {"intact": True, "passport": asdict(passport), "transcripts": gone_on}
    return data, "\n".join(_lines(passport, gone_on, digest))


def _goes_on(passport: JointPassport, path: Path) -> tuple[str, int]:
    """The partner whose transcript this is, and of how many rounds a vector is in it. Raises IntegrityError unless it verifies up to the
    head that this partner signed, and was charged no more until then than it signed for."""
    raw = given(path)
    try:
        name = json.loads(raw.split(b"\n", 1)[0])["entry"]["partner"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise IntegrityError(f"`{path}` is no transcript") from None
    share = next((share for share in passport.partners if share.name == name), None)
    if share is None:
        raise IntegrityError(
            f"`{path}` is of `{name}`, expected one of {[share.name for share in passport.partners]}, who signed for the model"
        )
    key = Verifier.parse(share.key)
    head = Digest(f"sha256:{share.head}") if share.head else transcript.verify(raw, key).head
    found = transcript.verify(raw, key, head)
    wrong = list(found.findings)
    if any(entry.contract != f"sha256:{passport.contract}" for entry in found.entries):
        wrong.append("it is of another contract")
    if any(entry.delta != passport.privacy.delta for entry in found.entries):
        wrong.append("its ε is at another δ than the contract's")
    after = [entry.before for entry in found.entries[1:]]  # the line that each entry names is the one before it
    until = after.index(head) if head in after else len(after)
    if not wrong and share.head and found.entries[until].left.spent > exact(share.mu_squared):
        wrong.append(f"it was charged more until then than `{name}` signed for")
    if wrong:
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise IntegrityError(f"`{path}`: {'; '.join(wrong[:SHOWN])}{more}")
    return share.name, len({entry.left.round for entry in found.entries if entry.left.step == Step.VECTOR and entry.left.code is None})


def _lines(passport: JointPassport, gone_on: Mapping[str, int], digest: str | None) -> list[str]:
    compared = "as you wrote it down" if digest else "compare it with what you wrote down when you signed"
    return [
        f"joint model of {passport.collaboration}, for {passport.purpose}, learned in {passport.rounds} rounds",
        f"contract sha256:{passport.contract}, signed by every partner; {compared}",
        f"model and parts as partners were told them: sha256:{passport.outcome}",
        *(f"fairness by {attribute}: {verdict}" for attribute, verdict in passports.verdicts(passport)),
        *(
            f"  {share.name} signed for it, charged ε {number(share.epsilon)}, "
            + (f"transcript up to sha256:{share.head}" if share.head else "and nothing had left it until then")
            + (f", which goes on from there, with vectors of {gone_on[share.name]} rounds" if share.name in gone_on else "")
            for share in passport.partners
        ),
        *(f"  {name} has not said that it has the model" for name in passport.silent),
        "signatures, the log's entry of the release, charges and ε hold",
    ]
