"""The stand-alone verifier: one file that convinces somebody who trusts nobody here.

    python verify.py --key KEY --database consentric.db --checkpoint checkpoint [--last-seen FILE] [--passport FILE …] [--json]

It imports the standard library and `cryptography`, and nothing of ours: what an auditor has to read is this page, and a
fault in the product's own hashing, parsing or accounting cannot hide itself here. So the tree of RFC 6962, the signed
note, the slots, DSSE and the formula of ε are all written a second time, on purpose.

A log is verified against checkpoints that KEY signed: those of the checkpoint file, the one in each passport, and the
one remembered in `--last-seen`. Whoever holds the key, or restores an old database with its old checkpoint file, is found
by the last two only. Exit code: 0 nothing found, 6 integrity broken, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import base64
import dataclasses
import fcntl
import hashlib
import json
import math
import os
import sqlite3
import sys
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

BROKEN = 6
SLOT, CHUNK, MOST_FINDINGS = 4096, 1 << 14, 100
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://consentric.dev/passport/v1"
RELEASED = "build.released"
TABLES = {
    "log_entries": [("idx", "INTEGER", 1), ("body", "BLOB", 0)],
    "log_nodes": [("level", "SMALLINT", 1), ("idx", "INTEGER", 2), ("hash", "BLOB", 0)],
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong: where, and what."""

    place: str
    problem: str


@dataclasses.dataclass(frozen=True)
class Report:
    """What came out; `entries` in the log, of which the first `covered` are under a checkpoint."""

    findings: tuple[Finding, ...]
    entries: int = 0
    covered: int = 0

    @property
    def exit_code(self) -> int:
        """0 or 6."""
        return BROKEN if self.findings else 0


class Broken(Exception):
    """Something does not verify."""


# ---- keys, signed notes, checkpoints (C2SP signed-note, tlog-checkpoint) ----


@dataclasses.dataclass(frozen=True)
class Key:
    """A verifier key `name+hash+base64(0x01 || Ed25519 public key)`."""

    name: str
    id: bytes
    public: bytes

    def signed(self, signature: bytes, message: bytes) -> bool:
        """Whether this key signed `message`."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except InvalidSignature:
            return False
        return True


def parse_key(text: str) -> Key:
    """Read a verifier key. Raises ValueError."""
    name, hexadecimal, encoded = [*text.strip().split("+", 2), "", ""][:3]
    raw = base64.b64decode(encoded, validate=True)
    expected = hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4]
    if len(raw) != 33 or raw[0] != 1 or not name or hexadecimal != expected.hex():
        raise ValueError(f"expected an Ed25519 verifier key `name+hash+key`, got `{text}`")
    return Key(name, expected, raw[1:])


@dataclasses.dataclass(frozen=True)
class Head:
    """A checkpoint that verified."""

    place: str
    size: int
    root: bytes
    note: str


def read_head(place: str, note: str, key: Key) -> Head:
    """Verify and parse a checkpoint. Raises Broken."""
    text, _, signatures = note.rpartition("\n\n")
    message = (text + "\n").encode()
    prefix = f"— {key.name} "
    made = [_decode(line[len(prefix) :]) for line in signatures.split("\n")[:-1] if line.startswith(prefix)]
    made = [signature[4:] for signature in made if signature[:4] == key.id]
    if not made:
        raise Broken(f"not signed by `{key.name}` with key {key.id.hex()}")
    if not key.signed(made[0], message):
        raise Broken("the signature is wrong")
    lines = text.split("\n")
    if len(lines) < 3 or "" in lines or lines[0] != key.name or not lines[1].isdecimal() or str(int(lines[1])) != lines[1]:
        raise Broken("signed, but not a checkpoint of this log")
    root = _decode(lines[2])
    if len(root) != 32:
        raise Broken("signed, but its root is no SHA-256 hash")
    return Head(place, int(lines[1]), root, note)


def read_slots(path: Path, key: Key) -> tuple[list[Head], list[Finding]]:
    """Both slots of a checkpoint file: SHA-256(rest), then the rest: length (4 bytes), note, zeros."""
    heads, findings = list[Head](), list[Finding]()
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)  # not while a slot is being written
            data = file.read(2 * SLOT + 1)
    except OSError as error:
        return heads, [Finding(f"checkpoint file `{path}`", f"cannot be read: {error.strerror}")]
    if len(data) != 2 * SLOT:
        findings.append(Finding(f"checkpoint file `{path}`", f"expected {2 * SLOT} bytes, got {len(data)} or more"))
    for number in (0, 1):
        place, raw = f"checkpoint slot {number}", data[number * SLOT : (number + 1) * SLOT]
        rest = raw[32:]
        if hashlib.sha256(rest).digest() != raw[:32] or len(raw) != SLOT:
            findings.append(Finding(place, "damaged: an edit, or a write that a crash interrupted and the next command mends"))
            continue
        try:
            end = 4 + int.from_bytes(rest[:4], "big")
            if rest[end:].strip(b"\0"):
                raise Broken("holds something behind its note")
            heads.append(read_head(place, rest[4:end].decode(errors="replace"), key))
        except Broken as error:
            findings.append(Finding(place, str(error)))
    return heads, findings


# ---- the tree (RFC 6962, section 2.1) ----


def leaf_hash(body: bytes) -> bytes:
    """SHA-256(0x00 || body)."""
    return hashlib.sha256(b"\x00" + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """RFC 9162, section 2.1.3.2. Raises Broken."""
    if not 0 <= index < size or len(leaf) != 32:
        raise Broken(f"leaf {index} is outside a tree of {size}, or is no hash")
    fn, sn, r = index, size - 1, leaf
    for p in proof:
        if sn == 0:
            raise Broken("the inclusion proof is too long")
        if fn & 1 or fn == sn:
            r = node_hash(p, r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node_hash(r, p)
        fn, sn = fn >> 1, sn >> 1
    if sn or r != root:
        raise Broken("the inclusion proof does not lead to the signed root")


class Tree:
    """Recomputes the tree from leaves as they stream by, and compares every complete subtree with the stored node."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._done: list[int] = []  # nodes computed, by level
        self._open: list[list[bytes]] = []  # by level, the node (if any) that waits for its sibling
        self._wrong: set[tuple[int, int]] = set()
        self.findings: list[Finding] = []

    def extend(self, hashes: list[bytes]) -> None:
        """Add leaf hashes."""
        level = 0
        while hashes:
            if level == len(self._done):
                self._done.append(0)
                self._open.append([])
            self._compare(level, self._done[level], hashes)
            self._done[level] += len(hashes)
            row = self._open[level] + hashes
            self._open[level] = [row.pop()] if len(row) % 2 else []
            sha256 = hashlib.sha256
            hashes = [sha256(b"\x01" + left + right).digest() for left, right in zip(row[::2], row[1::2], strict=True)]
            level += 1

    def root(self) -> bytes:
        """The root so far."""
        waiting = [node for level in self._open for node in level]
        if not waiting:
            return hashlib.sha256().digest()
        root = waiting[0]
        for left in waiting[1:]:
            root = node_hash(left, root)
        return root

    def finish(self) -> None:
        """No node may be stored that the tree does not have."""
        (stored,) = self._database.execute("SELECT count(*) FROM log_nodes").fetchone()
        if stored != sum(self._done):
            self.findings.append(Finding("log_nodes", f"expected {sum(self._done)} nodes for these entries, got {stored}"))

    def _compare(self, level: int, start: int, hashes: list[bytes]) -> None:
        query = "SELECT idx, hash FROM log_nodes WHERE level = ? AND idx >= ? AND idx < ? ORDER BY idx"
        stored = self._database.execute(query, (level, start, start + len(hashes))).fetchall()
        computed = list(zip(range(start, start + len(hashes)), hashes, strict=True))
        if stored == computed:
            return
        found = dict(stored)
        for index, value in computed:
            if found.get(index) == value:
                continue
            below = {(level - 1, 2 * index), (level - 1, 2 * index + 1)} & self._wrong
            if len(self.findings) < MOST_FINDINGS:
                self._wrong.add((level, index))
                if not below:  # what stands above a wrong node is wrong too, and says nothing new
                    place = f"node at level {level}, index {index}" if level else f"entry {index}"
                    reason = "its stored hash is missing" if index not in found else "does not match its stored hash"
                    self.findings.append(Finding(place, reason))


# ---- the log ----


def verify_log(database: Path, checkpoint: Path, key: Key, last_seen: Path | None = None, held: Iterable[Head] = ()) -> Report:
    """Recompute the log and hold it against every checkpoint. `held`: checkpoints kept elsewhere, which it must agree with.

    `last_seen` is a file that this function keeps: the newest checkpoint of the last run that found nothing.
    """
    # 1. checkpoints first: the log that is read afterwards can only be longer
    slots, findings = read_slots(checkpoint, key)
    newest = max(slots, key=lambda head: head.size, default=None)
    heads = [*slots, *held]
    if last_seen is not None and last_seen.exists():
        try:
            seen = read_head("last-seen checkpoint", last_seen.read_text(encoding="utf-8"), key)
            heads.append(seen)
            if newest is not None and newest.size < seen.size:
                findings.append(Finding("checkpoint file", f"went back from size {seen.size} to {newest.size}"))
        except (Broken, OSError, UnicodeDecodeError) as error:
            findings.append(Finding("last-seen checkpoint", str(error)))
    # 2. every leaf and node, in one consistent read
    try:
        still = "" if os.access(database.parent, os.W_OK) else "&immutable=1"  # a copy that nobody may write needs no lock file
        connection = sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro{still}", uri=True, isolation_level=None)
        connection.text_factory = lambda raw: raw.decode(errors="replace")  # text where a blob belongs must not stop us
        try:
            connection.execute("BEGIN")
            if unlike := _schema(connection):
                return Report((*findings, *unlike))
            entries, roots, more = _recompute(connection, {head.size for head in heads})
        finally:
            connection.close()
    except sqlite3.Error as error:
        return Report((*findings, Finding(f"database `{database}`", f"cannot be read: {error}")))
    findings += more
    # 3. sizes and roots
    for head in heads:
        if head.size > entries:
            findings.append(Finding(head.place, f"covers {head.size} entries, the log holds only the first {entries}"))
        elif roots.get(head.size) != head.root:
            findings.append(Finding(head.place, f"was signed over another root for {head.size} entries"))
    # 4. remember
    if last_seen is not None and newest is not None and not findings:
        temporary = last_seen.with_name(last_seen.name + ".new")
        temporary.write_text(newest.note, encoding="utf-8")
        os.replace(temporary, last_seen)
    return Report(tuple(findings), entries, min(entries, newest.size if newest else 0))


def _recompute(database: sqlite3.Connection, sizes: set[int]) -> tuple[int, dict[int, bytes], list[Finding]]:
    """Number of entries, the root at each of `sizes`, and what does not match."""
    tree, position = Tree(database), 0
    roots = {0: tree.root()}
    cursor = database.execute("SELECT idx, body FROM log_entries ORDER BY idx")
    while True:
        stop = min((size for size in sizes if size > position), default=position + CHUNK)
        rows = cursor.fetchmany(min(CHUNK, stop - position))
        for expected, (index, body) in enumerate(rows, position):
            if index != expected:
                return expected, roots, [*tree.findings, Finding(f"entry {expected}", f"is missing: the next one stored is {index}")]
            if type(body) is not bytes:
                return expected, roots, [*tree.findings, Finding(f"entry {expected}", f"its body is no blob but {type(body).__name__}")]
        if not rows:
            tree.finish()
            return position, roots, tree.findings
        tree.extend([leaf_hash(body) for _, body in rows])
        position += len(rows)
        roots[position] = tree.root()


def _schema(database: sqlite3.Connection) -> list[Finding]:
    """The two tables as they were made: no column that nothing covers, no view, no trigger."""
    findings = []
    for table, expected in TABLES.items():
        columns = [(row[1], row[2].upper(), row[5]) for row in database.execute(f"PRAGMA table_info({table})")]
        kinds = database.execute("SELECT type, name FROM sqlite_master WHERE tbl_name = ? AND type <> 'index'", (table,)).fetchall()
        if columns != expected or kinds != [("table", table)]:
            findings.append(Finding(f"table {table}", "is not as it was made"))
    return findings


# ---- passports (DSSE, in-toto Statement v1) ----


def verify_passport(envelope: bytes, key: Key, place: str = "passport") -> tuple[list[Finding], Head | None]:
    """Signature, log proof, and ε of the Gaussian part; also gives the checkpoint that the passport carries."""
    try:
        # 1. the envelope: DSSE's pre-authentication encoding, signed by the key
        document = json.loads(envelope)
        payload = base64.b64decode(document["payload"], validate=True)
        kind = document["payloadType"]
        message = b"DSSEv1 %d %s %d %s" % (len(kind.encode()), kind.encode(), len(payload), payload)
        if kind != PAYLOAD_TYPE or not any(key.signed(_decode(each["sig"]), message) for each in document["signatures"]):
            return [Finding(place, f"is not signed by `{key.name}` with key {key.id.hex()}")], None
        # 2. the statement
        statement = json.loads(payload)
        if (statement["_type"], statement["predicateType"]) != (STATEMENT_TYPE, PREDICATE_TYPE):
            return [Finding(place, f"expected a {PREDICATE_TYPE} statement, got {statement['predicateType']}")], None
        passport, proof = statement["predicate"]["passport"], statement["predicate"]["log"]
        findings, head = _check_proof(statement, passport, proof, key, place)
        return [*findings, *_costs(passport, place)], head
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        return [Finding(place, f"is malformed: {type(error).__name__} {error}")], None


def _costs(passport: dict[str, Any], place: str) -> list[Finding]:
    """What the build cost, and the snapshot that it shows; without an ε, that it shows nothing of what was learned."""
    shown = [what for what in ("utility", "fairness", "recipients") if passport["privacy"]["epsilon"] is None and passport[what]]
    problems = [problem for part in ("privacy", "snapshot") for problem in check_privacy(passport[part])]
    problems += ["its snapshot names no ε"] if passport["snapshot"]["epsilon"] is None else []
    return [Finding(place, problem) for problem in (*problems, *(f"it shows `{what}` and names no ε" for what in shown))]


def _check_proof(
    statement: dict[str, Any], passport: dict[str, Any], proof: dict[str, Any], key: Key, place: str
) -> tuple[list[Finding], Head | None]:
    """The log holds the release, and the release names this very passport."""
    findings = []
    entry = proof["entry"].encode()
    digest = hashlib.sha256(canonical(passport)).hexdigest()
    facts = json.loads(entry)["facts"]
    if facts.get("passport") != digest or facts.get("build") != passport["build"]:
        findings.append(Finding(place, "its log entry is about another passport or build"))
    if json.loads(entry)["action"] != RELEASED:
        findings.append(Finding(place, f"its log entry is no release, expected the action `{RELEASED}`"))
    if [subject["digest"].get("sha256") for subject in statement["subject"]] != [hashlib.sha256(entry).hexdigest()]:
        findings.append(Finding(place, "its subject is not its log entry"))
    try:
        head = read_head(f"checkpoint of {place}", proof["checkpoint"], key)
        verify_inclusion(proof["index"], head.size, leaf_hash(entry), [_decode(each) for each in proof["hashes"]], head.root)
    except Broken as error:
        return [*findings, Finding(place, f"its log proof fails: {error}")], None
    return findings, head


def canonical(passport: object) -> bytes:
    """The bytes that a passport's digest is taken over: sorted keys, no spaces, UTF-8."""
    return json.dumps(passport, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


# ---- ε of the Gaussian part (Dong, Roth, Su 2022, Corollary 2.13) ----


def delta_of(epsilon: float, mu: float, draws: int) -> float:
    """δ(ε) = Φ(−ε/μ + μ/2) − e^ε Φ(−ε/μ − μ/2) of μ-GDP, and (1 + e^ε)·draws·0.0202/2^48 for the noise being discrete."""

    def normal(x: float) -> float:
        return 0.5 * math.erfc(-x / math.sqrt(2))

    gaussian = 0.0
    if mu > 0:
        tail = normal(-epsilon / mu - mu / 2)
        gaussian = normal(-epsilon / mu + mu / 2) - (math.exp(epsilon + math.log(tail)) if tail > 0 else 0.0)
    return max(0.0, gaussian) + (1 + math.exp(epsilon)) * draws * 0.0202 / 2**48


def epsilon_of(mu_squared: Fraction, draws: int, delta: float) -> float:
    """The least ε that holds at δ; infinite if none up to 700 does."""
    if mu_squared == 0 and draws == 0:
        return 0.0
    # δ(ε) is convex: it falls, and rises again with discreteness; what is sought is where it falls to δ
    mu, low, high = math.sqrt(mu_squared), 0.0, 700.0
    for _ in range(150):
        left, right = (2 * low + high) / 3, (low + 2 * high) / 3
        low, high = (low, right) if delta_of(left, mu, draws) <= delta_of(right, mu, draws) else (left, high)
    if delta_of(high, mu, draws) > delta:
        return math.inf
    low = 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if delta_of(middle, mu, draws) > delta else (low, middle)
    return high


def check_privacy(privacy: dict[str, Any]) -> list[str]:
    """The transcript adds up to what was charged, each line's noise is worth its μ², and ε is what that gives; a block is not composed."""
    problems = []
    total, draws = Fraction(privacy["mu_squared"]), int(privacy["draws"])
    rows = [(Fraction(row["mu_squared"]), row) for row in privacy["transcript"]]
    if privacy["epsilon"] is None and not (total or draws or rows):  # learned without differential privacy, and nothing can be paid for
        return [] if privacy["assurance"].startswith("none: ") else ["it names no ε, and does not say why"]
    if any(mu_squared < 0 or row["draws"] < 0 for mu_squared, row in rows):
        problems.append("its privacy transcript has a negative line")
    if sum(mu_squared for mu_squared, _ in rows) > total or sum(row["draws"] for _, row in rows) > draws:
        problems.append("its privacy transcript adds up to more than was charged")
    for mu_squared, row in rows:
        if not row["sigma"] > 0 or (row["bound"] / row["sigma"]) ** 2 > float(mu_squared) * (1 + 1e-9):
            problems.append(f"line `{row['path']}` of its privacy transcript costs more than its μ²")
    derived = epsilon_of(total, draws, privacy["delta"])
    if not derived * (1 - 1e-9) <= privacy["epsilon"] <= derived * (1 + 1e-6) + 1e-8:  # the ledger rounds up, a little
        problems.append(f"ε is {derived:.9g} at δ {privacy['delta']:g}, it claims {privacy['epsilon']:.9g}")
    block, floating = privacy.get("block"), privacy["assurance"].startswith("floating point")
    if block and not (floating and block["delta"] == privacy["delta"] and privacy["epsilon"] <= block["epsilon"] < math.inf):
        problems.append("its block costs less than the draws within it, or is not what its assurance says")
    problems += ["it trained in floating point, and names no block"] if floating and not block else []
    return problems


def _decode(text: str) -> bytes:
    """Base64 in its one canonical spelling; empty if it is none."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        return b""
    return raw if base64.b64encode(raw).decode() == text else b""


# ---- the command ----


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, verify, print; returns the exit code."""
    parser = argparse.ArgumentParser(prog="verify.py", description="Verify a Consentric log, and passports, offline.")
    parser.add_argument("--key", required=True, help="verifier key `name+hash+key`, or a file that holds it")
    parser.add_argument("--database", type=Path, help="the workspace's SQLite database")
    parser.add_argument("--checkpoint", type=Path, help="its checkpoint file")
    parser.add_argument("--passport", type=Path, action="append", default=[], help="a passport; may be given again")
    parser.add_argument("--last-seen", type=Path, help="file in which to remember the newest checkpoint")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    if (given.database is None) != (given.checkpoint is None) or not (given.database or given.passport):
        parser.error("give --database and --checkpoint, or --passport, or all of them")
    try:
        key = parse_key(Path(given.key).read_text(encoding="utf-8") if Path(given.key).is_file() else given.key)
        envelopes = {path: path.read_bytes() for path in given.passport}
    except (OSError, ValueError) as error:
        parser.error(str(error))
    findings, held = list[Finding](), list[Head]()
    for path, envelope in envelopes.items():
        found, head = verify_passport(envelope, key, f"passport `{path}`")
        findings += found
        held += [head] if head else []
    log = verify_log(given.database, given.checkpoint, key, given.last_seen, held) if given.database else Report(())
    report = Report((*findings, *log.findings), log.entries, log.covered)
    print(_json(report) if given.json else _text(report, bool(given.database)))
    return report.exit_code


def _json(report: Report) -> str:
    return json.dumps({**dataclasses.asdict(report), "exit_code": report.exit_code}, ensure_ascii=False, indent=2)


def _text(report: Report, log: bool) -> str:
    lines = [f"{finding.place}: {finding.problem}" for finding in report.findings]
    told = f"{report.entries} entries, {report.covered} covered by a checkpoint, {report.entries - report.covered} not yet"
    return "\n".join([*lines, *([told] if log else []), "integrity broken" if report.findings else "nothing wrong found"])


if __name__ == "__main__":
    sys.exit(main())
