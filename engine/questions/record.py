"""The record itself: whether the log was edited, cut or forked, and who looked at data, took it out, and where it went."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from sqlalchemy import Connection

from audit import log as audit_log
from audit.checkpoint import Checkpoint
from audit.merkle import CompactRange, IntegrityError, cover, leaf_hash
from engine import evidence
from engine.questions.archive import Archive
from engine.questions.question import ON, SEGMENT, Answer, Asking, Draft, Question
from governance import entries, exports
from governance.roles import Action
from governance.suppression import SuppressionError

RECOMPUTED = 100_000
"""The newest entries, which an answer hashes again in half a second; `audit verify` does so with all."""

_ROWS = 1_000
"""Entries in memory at once."""

SHOWN = 8
"""Entries of each kind that an answer shows, the newest."""

SEARCHED = 5_000
"""The newest entries of each kind, among which those about one segment are looked for."""

LOOKS = {
    "members.read": "read the list of a segment",
    "subject.answered": "read everything about one subject",
    "consent.shown": "read one subject's consent",
    "consent.counted": "read exact counts of consent",
    "sweep.counted": "read how many left",
    "question.asked": "asked a question",
    "log.read": "read the log",
    "evidence.exported": "took evidence out",
    "export.finished": "handed a list over",
    "notice.handed": "handed a recall notice out",
    "keys.backed_up": "took a copy of the keys",
    "access.denied": "was refused",
}
"""Entries of whoever saw or took something, in words."""


def log_integrity(archive: Archive, _asked: Asking) -> Answer:
    """Whether the log goes on from every head that was signed of it, and its entries are those that were signed."""
    told, newest = Draft(), archive.workspace.checkpoint()
    if newest is None:
        told.say("there is no checkpoint: nothing vouches for this log", intact=False)
        return told.answer()
    heads = list(_heads(archive, told, newest))
    with archive.workspace.store.read() as session:  # after the heads were: what somebody writes meanwhile is not cut off
        _compared(session.connection(), told, heads, newest)
    told.lack("checkpoints that others keep: whoever holds one finds a fork with `consentric audit verify --last-seen FILE`")
    return told.answer()


def _compared(connection: Connection, told: Draft, heads: list[tuple[str, Checkpoint]], newest: Checkpoint) -> None:
    """What the log is beside each head, and its newest entries beside the newest head."""
    problems = []
    for where, head in heads:
        problem = _against(connection, head)
        told.say(f"{where}, of {head.size:,} entries: {problem or 'the log goes on from it'}")
        told.add("heads", {"where": where, "size": head.size, "root": head.root.hex(), "problem": problem})
        problems.append(problem)
    start = max(0, newest.size - RECOMPUTED)
    problems.append(_recomputed(connection, newest, start))
    which = "all" if not start else "the newest"
    told.say(
        f"{which} {newest.size - start:,} entries were hashed again, up to the signed root: "
        f"{problems[-1] or 'none was edited, moved or taken out'}",
        recomputed=newest.size - start,
    )
    if start:
        told.lack(
            f"whether one of the first {start:,} entries was edited since that, below nodes that are intact: `consentric audit verify`"
        )
    told.say(f"intact: {'no' if any(problems) else 'yes'}, as far as was looked", intact=not any(problems))
    told.rest_on(audit_log.newest(connection), "the newest entry, whose proof leads to the signed head")


def _heads(archive: Archive, told: Draft, newest: Checkpoint) -> Iterator[tuple[str, Checkpoint]]:
    """Every head of the log that was signed and kept, and where."""
    yield "the newest signed checkpoint", newest
    elsewhere: dict[str, Callable[[], Checkpoint | None]] = {
        "the head that is kept outside workspace and backups": lambda: archive.workspace.outside.newest().checkpoint,
        "the checkpoint that was published last": lambda: evidence.published(archive.workspace),
    }
    for where, kept in elsewhere.items():
        try:
            head = kept()
        except (SuppressionError, IntegrityError) as error:
            told.lack(f"{where}: {error}")
            continue
        if head is None:
            told.lack(f"{where}: there is none")
        else:
            yield where, head
    if read := evidence.verified(archive.workspace):
        at, head = read
        told.say(f"every entry was read by `audit verify` on {at[:10]}", verified=at)
        yield "the checkpoint of then", head
    else:
        told.lack("when every entry was read last: `consentric audit verify` has not been run here")


def _against(connection: Connection, head: Checkpoint) -> str:
    """What is wrong with the log beside a signed head; nothing where it goes on from it."""
    try:
        audit_log.check_against(connection, head)
    except IntegrityError as error:
        return str(error)
    return ""


def _recomputed(connection: Connection, head: Checkpoint, start: int) -> str:
    """The same from the entries themselves, from `start` on; what is before it as the nodes have it that the root covers."""
    tree = CompactRange(start, [audit_log.nodes(connection, [place])[0] for place in cover(0, start)])
    found = audit_log.entries(connection, start, head.size)
    while entries := list(islice(found, _ROWS)):
        if wrong := next((entry for entry in entries if not isinstance(entry.body, bytes)), None):
            return f"entry {wrong.index} is not stored as bytes"
        tree.extend([leaf_hash(entry.body) for entry in entries])
    return "" if (tree.size, tree.root()) == (head.size, head.root) else "entries were edited; `consentric audit verify` names them"


def exports_and_looks(archive: Archive, _asked: Asking) -> Answer:
    """Who saw or took what, when, and where it went; of whom a look was, the log never says."""
    told = Draft()
    needles = _about(archive)
    found, counts = [], []
    for action, words in LOOKS.items():
        newest = archive.entries(action, last=SEARCHED if needles else SHOWN, until=archive.past)
        shown = [entry for entry in newest if not needles or any(needle in entry.body for needle in needles)]
        found += shown[-SHOWN:]
        if needles:
            number = f"{len(shown)}" + (f" among the newest {SEARCHED:,}" if len(newest) == SEARCHED else "")
        else:
            number = f"{entries.count(archive.connection, action, until=archive.past)}"
        if shown:
            counts.append((words, number, action))
    told.table("counts", counts, ("somebody", "times", "entries"))
    rows = []
    for entry in sorted(found, key=lambda entry: entry.index):
        body = entry.parsed
        told.rest_on(entry, LOOKS[body["action"]])
        rows.append((entry.index, body["at"][:19], body["principal"], LOOKS[body["action"]], _of(body["facts"])))
    told.table("looks", rows, ("entry", "at", "who", "did", "of what, where to"))
    if not rows:
        told.say("nobody looked at or took anything until then")
    if any(entry.parsed["action"] == "evidence.exported" for entry in found):
        told.lack("where files of evidence were put: their entries say what was taken, and no place")
    told.lack("whom a look at one subject was of: the log names nobody, by design")
    told.lack("what was read by whoever can read the workspace's files or database without a command")
    return told.answer()


def _about(archive: Archive) -> tuple[bytes, ...]:
    """Of what one stands in an entry about the segment or build that was asked for, its builds, and notices of these; () where none was.

    Whoever asks about a build gives its id for a segment.
    """
    if archive.asked.segment is None:
        return ()
    ids = {build.id for build in archive.of_segment()}
    lists = {export.id for export in exports.exports(archive.session) if export.build in ids}
    notices = {notice.id for notice in exports.notices(archive.session) if notice.export in lists}
    named = {archive.asked.segment, *ids}
    several = [*(("segment", each) for each in named), *(("build", each) for each in ids), *(("notice", each) for each in notices)]
    return tuple(sorted(entries.pair(name, value).encode() for name, value in several))


def _of(facts: dict[str, Any]) -> str:
    said = {name: value for name, value in facts.items() if name not in ("sha256", "rules", "answer")}
    return ", ".join(f"{name} {value}" for name, value in said.items()) or "-"


INTEGRITY = Question("log-integrity", "Was the log edited, cut or forked?", Action.READ_LOG, log_integrity)
LOOKED = Question(
    "exports-and-looks", "Who looked at or exported data, and where did it go?", Action.READ_LOG, exports_and_looks, takes=SEGMENT | ON
)
