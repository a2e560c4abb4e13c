"""What was promised last, kept outside workspace and backups: the log's head, and what of each account is spent.

If the database was restored from an old backup, this record is ahead of it. Then whatever was spent since still was, whoever
was erased since is back, and nothing that spends, reads people or releases may go on before `consentric rights replay` has put
both right (`BehindError`). Such a database writes no line either, before its replay has ended.

A line is written when a budget changes, at the first draw of a reservation (after its transaction, and before noise exists) and
at an erasure or objection: one flush each, none for other entries of the log. The folder's key is the one that the log names.

A line holds the epoch (one more after each replay), a signed checkpoint, and one cap account with its cap and the total of each
allocation, or no account. The newest of a workspace is the one with the highest epoch and, within it, the largest log; lines of
an earlier epoch still tell what was spent. It also names keys that signed the log beside each other, signed by each: whoever has a
backup from before the key was rotated reads by them what was promised since. Neighbours, μ² and draws as in `governance.budget`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from sqlmodel import Session

from audit import log as audit_log
from audit.checkpoint import Checkpoint, Signer, Verifier, make_checkpoint, read_checkpoint, split_note
from audit.merkle import IntegrityError
from governance.budget import Spending, Standing, standing
from governance.caps import NO_BLOCKS, Blocks
from governance.journal import Journal
from governance.store import Transaction
from governance.suppression import ANEW, NEWEST, Suppression, SuppressionError, file_faults
from governance.tables import RotatedKeyRow
from policies.policy import Allowance

MOST_BYTES = 1 << 18
"""A longer record is written anew, with one line an account."""

_KEYS = "consentric.dev/keys-beside/v1"
"""What the note begins with that names keys beside each other."""

_KEY = "suppression"
"""Name of the key outside, among those whose fingerprint the database has."""


class BehindError(IntegrityError):
    """The database is older than what was promised last."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"the database is behind what was promised last: {what}; run `consentric rights replay`, or put the newer one back"
        )


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest record: `checkpoint` None before the first, and what each account had spent when its budget last changed."""

    checkpoint: Checkpoint | None = None
    accounts: Mapping[str, Standing] = field(default_factory=dict)


class Outside:
    """The record in `folder`, signed by the log's key. Everything here raises SuppressionError where the file cannot be used."""

    def __init__(self, folder: Path, signer: Signer, former: Sequence[Verifier] = ()) -> None:
        """`former`: keys that the log was signed with before."""
        self._journal = Journal(folder / NEWEST, "outside")
        self._signer = signer
        self._former = former
        self._catching_up = False

    def keep(self, session: Session, accounts: Iterable[str] = ()) -> None:
        """Write down where the log stands, and these cap accounts; durable on return. Raises BehindError as `hold` does."""
        if not self._catching_up:
            self.hold(session)
            self._append(session, accounts, later=0)

    @contextmanager
    def catching_up(self) -> Iterator[None]:
        """What is done to a database that is behind is no promise before `begin_epoch`: a crash leaves it behind."""
        self._catching_up = True
        try:
            yield
        finally:
            self._catching_up = False

    def begin_epoch(self, session: Session, accounts: Iterable[str]) -> None:
        """Write down where the log stands, and these cap accounts: from now on the log of this database is the one that counts."""
        self._append(session, accounts, later=1)

    def newest(self) -> Newest:
        """What was promised last. Raises IntegrityError where it was not signed by the log's key."""
        with file_faults():
            lines = [json.loads(line) for line in self._journal.lines()]
        if not lines:
            return Newest()
        lines.sort(key=_age)
        accounts = {line["cap"]: _standing(line) for line in lines if line["cap"] is not None}
        note = lines[-1]["note"]
        known = [self._signer.verifier, *self._former]
        for beside in lines[-1].get("keys", ()):
            known += _reached(beside, known)
        by = next((key for key in known if key.signed(note)), self._signer.verifier)
        return Newest(read_checkpoint(note, by), accounts)

    def hold(self, session: Session) -> None:
        """Raises BehindError unless the log of this database goes on from the one that was promised last.

        `session` has read nothing yet: what it sees is then no older than the promise.
        """
        checkpoint = self.newest().checkpoint
        if checkpoint is None:
            raise BehindError("something was, and nothing is written down of it any more")
        connection = session.connection()
        size = audit_log.size(connection)
        if size < checkpoint.size:
            raise BehindError(f"its log has {size} entries, and {checkpoint.size} were promised")
        if audit_log.root(connection, checkpoint.size) != checkpoint.root:
            raise BehindError(f"its log had other entries when it had {checkpoint.size}")

    def _append(self, session: Session, accounts: Iterable[str], later: int) -> None:
        connection = session.connection()
        size = audit_log.size(connection)
        note = make_checkpoint(self._signer, size, audit_log.root(connection, size)).note
        with file_faults():
            lines = self._journal.lines()
            last: dict[str, Any] = json.loads(lines[-1]) if lines else {"epoch": 0}
            keys = [*dict.fromkeys((*last.get("keys", ()), *_beside(self._signer)))]
            head = {"epoch": last["epoch"] + later, "size": size, "note": note} | ({"keys": keys} if keys else {})
            standings: list[Standing | None] = [standing(session, account) for account in accounts]
            for each in standings or [None]:
                self._journal.append(json.dumps({**head, **_line(each)}, separators=(",", ":")))
            if sum(map(len, lines)) > MOST_BYTES:
                self._journal.rewrite(_newest_only)


def pin(transaction: Transaction, suppression: Suppression) -> str:
    """Write down by what the key outside is known again, and give it for the entry of the log: no other is taken from now on."""
    row = transaction.session.get(RotatedKeyRow, _KEY) or RotatedKeyRow(name=_KEY, fingerprint="", created=0)
    row.fingerprint, row.created = suppression.fingerprint, transaction.micros
    transaction.session.add(row)
    return row.fingerprint


def check_key(session: Session, suppression: Suppression) -> None:
    """Raises SuppressionError where the folder outside has another key than the one that was written down: a list of nobody."""
    row = session.get(RotatedKeyRow, _KEY)
    if row is None or row.fingerprint != suppression.fingerprint:
        raise SuppressionError(f"`{suppression.folder}` has another key than the one that this workspace knows", ANEW)


def _beside(signer: Signer) -> list[str]:
    """A note of the keys that sign beside each other while a rotation's overlap lasts, by all of them; none if there is one key."""
    signers = sorted((signer, *signer.also), key=lambda each: str(each.verifier))
    text = "".join(f"{line}\n" for line in (_KEYS, signer.origin, *(each.verifier for each in signers)))
    return [f"{text}\n{''.join(each.line(text) for each in signers)}"] if signer.also else []


def _reached(note: str, known: Sequence[Verifier]) -> list[Verifier]:
    """The keys of such a note, if one of them is known. Raises IntegrityError unless all of them signed it."""
    keys = [Verifier.parse(line) for line in split_note(note)[0].split("\n")[2:-1]]
    if not {*keys} & {*known}:
        return []
    texts = {key.open(note).split("\n")[0] for key in keys}
    if texts != {_KEYS}:
        raise IntegrityError("what names keys beside each other is another note")
    return keys


def _age(line: Mapping[str, Any]) -> tuple[int, int]:
    return line["epoch"], line["size"]


def _newest_only(lines: Iterable[str]) -> list[str]:
    """The newest line of each account, and the newest of all last."""
    kept = {json.loads(line)["cap"]: line for line in sorted(lines, key=lambda line: _age(json.loads(line)))}
    return sorted(kept.values(), key=lambda line: _age(json.loads(line)))


def _line(each: Standing | None) -> dict[str, Any]:
    if each is None:
        return {"cap": None}
    spent = {
        name: [s.purpose, str(s.mu_squared), s.draws, s.latest, str(s.blocks.epsilon), str(s.blocks.delta)]
        for name, s in each.allocations.items()
    }
    limit = [each.limit.epsilon, each.limit.delta] if each.limit else None
    return {"cap": each.account, "limit": limit, "allocations": spent}


def _standing(line: Mapping[str, Any]) -> Standing:
    limit = Allowance(epsilon=line["limit"][0], delta=line["limit"][1]) if line["limit"] else None
    spent = {
        name: Spending(
            purpose, Fraction(mu_squared), draws, latest, Blocks(Fraction(blocks[0]), Fraction(blocks[1])) if blocks else NO_BLOCKS
        )
        for name, (purpose, mu_squared, draws, latest, *blocks) in line["allocations"].items()  # lines had no blocks once
    }
    return Standing(line["cap"], limit, spent)
