"""The stand-alone verifier: one file that convinces somebody who trusts nobody here.

    python verify.py --key KEY | --trust POLICY  [--database FILE --checkpoint FILE | --tiles FOLDER]  [--last-seen FILE]
                     [--passport FILE …] [--proof FILE …] [--opening FILE …] [--json]

It imports the standard library and `cryptography`, and nothing of ours: an auditor reads this page, and a fault in the product's own
hashing, parsing or accounting cannot hide itself here. A log is held against checkpoints that its key signed: the newest, and those
in passports, in proofs and in `--last-seen`. Whoever holds the key, or restores an old log with its old checkpoint, is found only by
what was kept elsewhere, and by witnesses: `--trust` is a policy (C2SP tlog-policy) of logs, witnesses, and how many of these must have
cosigned tiles and proofs. Of a key that was rotated, either will do. Exit code: 0 nothing found, 6 integrity broken, 2 wrong usage.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import math
import os
import re
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from fractions import Fraction
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

BROKEN, SLOT, CHUNK, WIDTH, MOST_FINDINGS, CONSIDERED = 6, 4096, 1 << 14, 256, 100, ("consent_root", "consent_leaves")
MANY, PAYLOAD_TYPE, STATEMENT_TYPE = ("proof", "passport", "opening"), "application/vnd.in-toto+json", "https://in-toto.io/Statement/v1"
PREDICATE_TYPE, OPENING = "https://consentric.dev/passport/v1", "https://consentric.dev/opening/v1"
RELEASED, ANSWERED, LEFT, ROTATED = "build.released", "question.answered", "collaboration.answered", "key.rotated"
PROOF, COMMITMENT, ROTATION = "c2sp.org/tlog-proof@v1", b"consentric.dev/commitment/v1", "consentric.dev/key-rotation/v1"
ENTRIES, NODES = [("idx", "INTEGER", 1), ("body", "BLOB", 0)], [("level", "SMALLINT", 1), ("idx", "INTEGER", 2), ("hash", "BLOB", 0)]
TABLES = {"log_entries": ENTRIES, "log_nodes": NODES}  # of each column name, type, and place in the key
LEAVES = {**dict.fromkeys(("build.quarantined", LEFT), CONSIDERED), "consent.append": ("root", "events"), ANSWERED: ("answer", "")}
REASONS = "admitted,never asked,requested,refused,withdrawn,objected,expired,invalidated,no notice,no basis,child,merged".split(",")  # noqa: SIM905 (one line)
FIELDS = """subject purpose status event_time received_time valid_until basis notice_version notice_hash controller jurisdiction method
raw_signal decoded""".split()  # noqa: SIM905 (two lines)
Link = tuple[int, bytes, bytes | None]  # an entry of the log, at an index, after a root where that is known
MALFORMED = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError, OSError, sqlite3.Error)


class Broken(Exception):
    """Something does not verify."""


class Finding(NamedTuple):
    """One thing that is wrong: where, and what."""

    place: str
    problem: str


def sha(*parts: bytes) -> bytes:
    """SHA-256. A leaf is sha(b"\\0", body), a node sha(b"\\1", left, right) (RFC 6962, section 2.1)."""
    return hashlib.sha256(b"".join(parts)).digest()


def decode(text: str) -> bytes:
    """Base64 in its one canonical spelling; empty if it is none."""
    with suppress(ValueError):
        return raw if base64.b64encode(raw := base64.b64decode(text, validate=True)).decode() == text else b""
    return b""


class Key(NamedTuple):
    """A verifier key of C2SP signed-note: `name+hash+base64(algorithm || Ed25519 public key)`."""

    name: str
    id: bytes
    public: bytes

    def signed(self, signature: bytes, message: bytes) -> bool:
        """Whether this key signed `message`."""
        with suppress(InvalidSignature):
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
            return True
        return False


def parse_key(text: str, algorithm: int = 1) -> Key:
    """Read a verifier key: 1 Ed25519 of a log, 4 cosignatures of a witness. Raises ValueError."""
    name, hexadecimal, encoded = [*text.strip().split("+", 2), "", ""][:3]
    expected = sha(name.encode(errors="surrogateescape"), b"\n", raw := decode(encoded))[:4]
    if len(raw) != 33 or raw[0] != algorithm or not name or hexadecimal != expected.hex():
        raise ValueError(f"expected a verifier key `name+hash+key` of algorithm {algorithm}, got `{text}`")
    return Key(name, expected, raw[1:])


class Trust(NamedTuple):
    """Whom to believe. `quorum`: a witness, or (how many, of which quorums)."""

    logs: tuple[Key, ...] = ()
    witnesses: tuple[Key, ...] = ()
    quorum: Any = (0, ())
    chain: tuple[tuple[int, Key], ...] = ()  # keys of a log that rotated its own, each with the last size that the one before it signed

    def signing(self, size: int | None = None) -> tuple[Key, ...]:
        """Those that may have signed a tree of that size; without one, all."""
        found = [key for after, key in self.chain if size is None or after < size]
        return tuple(found if size is None else found[-1:]) or self.logs

    def met(self, made: Iterable[Key], quorum: Any = None) -> bool:
        """Whether these witnesses are a quorum."""
        wanted = self.quorum if quorum is None else quorum
        return wanted in made if isinstance(wanted, Key) else sum(self.met(made, each) for each in wanted[1]) >= wanted[0]


def parse_policy(raw: bytes) -> Trust:
    """Read a policy of C2SP tlog-policy; names are opaque bytes. Raises ValueError with the number of the line."""
    logs, known, members, publics, quorum = list[Key](), dict[str, Any](), set[str](), set[bytes](), list[Any]()
    for number, line in enumerate(raw.decode(errors="surrogateescape").split("\n"), 1):
        words = re.findall("[^ \t]+", line) if not re.search("[\x00-\x08\x0b-\x1f\x7f]", line) else ["?"]
        new, those = words[1:] and words[1] not in {*known, "none"}, words[3:]
        count = {"any": "1", "all": str(len(those))}.get(words[2], words[2]) if those else ""
        fits = re.fullmatch("[1-9][0-9]{0,8}", count) and int(count) <= len(those) == len({*those}) and {*those} <= known.keys() - members
        match words:
            case ["log", text] | ["log", text, _] if (key := parse_key(text)).public not in {each.public for each in logs}:
                logs.append(key)
            case ["witness", name, text] | ["witness", name, text, _] if new and (key := parse_key(text, 4)).public not in {*publics}:
                known[name], publics = key, publics | {key.public}
            case ["group", name, *_] if new and fits:
                known[name], members = (int(count), tuple(known[each] for each in those)), members | {*those}
            case ["quorum", name] if not quorum and name in {*known, "none"}:
                quorum.append(known.get(name, (0, ())))
            case [first, *_] if not first.startswith("#"):
                raise ValueError(f"line {number} of the policy is wrong, or says something twice: `{line}`")
    if not quorum or raw[-1:] != b"\n":
        raise ValueError("the policy has no quorum, or was cut: its last line does not end")
    return Trust(tuple(logs), tuple(each for each in known.values() if isinstance(each, Key)), quorum[0])


def signers(note: str, keys: Iterable[Key], cosigned: bool = False) -> tuple[str, list[Key]]:
    """The text of a note, and those of `keys` that signed it, or cosigned it (C2SP tlog-cosignature). Raises Broken for a wrong one."""
    text, _, signatures = note.rpartition("\n\n")
    parts = [line.split(" ") for line in signatures.split("\n")[:-1]]
    raws = [(part[1], decode(part[2])) for part in parts if len(part) == 3 and part[0] == "—"]
    made = [(key, raw[4:]) for key in keys for name, raw in raws if (name, raw[:4]) == (key.name, key.id)]
    for key, raw in made:
        header = f"cosignature/v1\ntime {int.from_bytes(raw[:8], 'big')}\n" if cosigned else ""
        if not key.signed(raw[8:] if cosigned else raw, f"{header}{text}\n".encode()):
            raise Broken(f"the signature is wrong, of {'witness' if cosigned else 'log'} `{key.name}` with key {key.id.hex()}")
    return text, [key for key, _ in made]


def claimed(note: str) -> int:
    """The size that a note claims; 0 if it is no checkpoint."""
    return int((re.findall("^[^\n]+\n(0|[1-9][0-9]{0,17})\n", note) or ["0"])[0])


def read_head(note: str, trust: Trust | Key, quorum: bool = False) -> tuple[int, bytes]:
    """Size and root of a checkpoint that verifies (C2SP tlog-checkpoint). Raises Broken, for want of a `quorum` that is asked for too."""
    trust = Trust((trust,)) if isinstance(trust, Key) else trust
    (text, made), size = signers(note, keys := trust.signing(claimed(note))), claimed(note)
    if not made:
        raise Broken("not signed by " + " or ".join(f"`{key.name}` with key {key.id.hex()}" for key in keys))
    lines = [*text.split("\n"), ""]
    if lines[:2] != [made[0].name, str(size)] or len(root := decode(lines[2])) != 32 or "" in lines[:-1] or note[-1] != "\n":
        raise Broken("signed, but not a checkpoint of this log")
    witnesses = signers(note, trust.witnesses, cosigned=True)[1]
    if quorum and not trust.met(witnesses):
        raise Broken(f"has no quorum, it is cosigned by {[key.name for key in witnesses]}")
    return size, root


def slots(path: Path) -> tuple[list[tuple[str, str]], list[Finding]]:
    """The notes in a checkpoint file of two slots: SHA-256(rest), then the rest: length (4 bytes), note, zeros."""
    notes, findings = list[tuple[str, str]](), list[Finding]()
    with found(findings, f"checkpoint file `{path}`"), open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # not while a slot is being written
        for place, raw in (("checkpoint slot 0", (data := file.read(2 * SLOT + 1))[:SLOT]), ("checkpoint slot 1", data[SLOT:])):
            with found(findings, place):
                rest = (note := raw[32 : 36 + int.from_bytes(raw[32:36], "big")]).ljust(SLOT - 32, b"\0")
                if raw != sha(rest) + rest:
                    raise Broken("damaged: an edit, or a write that a crash interrupted and the next command mends")
                notes.append((place, note[4:].decode(errors="replace")))
    return notes, findings


def follow(trust: Trust, links: Iterable[Link]) -> tuple[Trust, list[Finding]]:
    """Who signs which trees of a log. A link is an entry, at an index of the log, after a root where that is known. One that rotates
    the log's key holds a note that names the key before and the key after, and that both signed: either leads to the other."""
    chain, findings = list[tuple[int, Key]](), list[Finding]()
    for index, body, root in links:
        entry = json.loads(body) if body[:1] == b"{" else {}
        if (entry.get("action"), entry.get("facts", {}).get("key")) == (ROTATED, "log"):
            with found(findings, f"entry {index}"):
                tag, origin, at, before, *named = (note := entry["facts"]["note"]).split("\n")[:6]
                old, new = map(parse_key, named)
                signed = len(signers(note, (old, new))[1]) == 2 and {old.name, new.name} == {origin}
                fits = root in (None, decode(before)) and (not chain or chain[-1][1] == old)
                if (tag, at, signed, fits) != (ROTATION, str(index), True, True):
                    raise Broken("rotates a key of another place or log, or not by both keys: the one that counts, and the next")
                chain = [*(chain or [(-1, old)]), (index, new)]
    held = {key for _, key in chain} & {*trust.logs}
    if chain and not held:
        findings.append(Finding("key", f"is none of those that signed the log: {[key.id.hex() for _, key in chain]}"))
    return trust._replace(chain=tuple(chain) if held else ()), findings


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Climb from a leaf to the root (RFC 9162, section 2.1.3.2; the tree is that of RFC 6962). Raises Broken."""
    node, at, last = leaf, index, size - 1  # at each level: the node, its place, and the last place that there is
    for sibling in proof:
        while at == last and at and not at % 2:  # the last of an odd number has no sibling
            at, last = at >> 1, last >> 1
        node = sha(b"\1", sibling, node) if at % 2 else sha(b"\1", node, sibling)
        at, last = at >> 1, last >> 1 if last else -1
    if not 0 <= index < size or last or len(leaf) != 32 or node != root:
        raise Broken("the inclusion proof does not lead to the signed root: it is of another entry or tree, or too long or too short")


def recompute(database: sqlite3.Connection, step: int, sizes: set[int]) -> tuple[int, dict[int, bytes], list[Link], list[Finding]]:
    """Number of entries, roots at `sizes`, entries that may rotate the log's key, and where stored nodes of each `step`th level differ."""
    findings, wrong, links, position = list[Finding](), set[tuple[int, int]](), list[Link](), 0
    done, waiting = [0] * 64, [list[bytes]() for _ in range(64)]  # by level: nodes computed, and any one that waits for its sibling

    def compare(level: int, start: int, hashes: list[bytes]) -> None:
        query = "SELECT idx, hash FROM log_nodes WHERE level = ? AND idx >= ? AND idx < ? ORDER BY idx"
        stored = database.execute(query, (level, start, start + len(hashes))).fetchall()
        computed, at = list(enumerate(hashes, start)), dict(stored)
        for index, value in computed if stored != computed and len(findings) < MOST_FINDINGS else ():
            if at.get(index) != value:
                wrong.add((level, index))
                if not {(level - 1, 2 * index), (level - 1, 2 * index + 1)} & wrong:  # what stands above one is wrong too
                    place = f"node at level {level}, index {index}" if level else f"entry {index}"
                    findings.append(Finding(place, "does not match its stored hash" if index in at else "its stored hash is missing"))
        del findings[MOST_FINDINGS:]

    def root() -> bytes:
        return reduce(lambda right, left: sha(b"\1", left, right), [node for level in waiting for node in level] or [sha()])

    roots, cursor = {0: root()}, database.execute("SELECT idx, body FROM log_entries ORDER BY idx")
    while rows := cursor.fetchmany(CHUNK):
        wrong_at = next((n for n, (index, body) in enumerate(rows) if index != position + n or type(body) is not bytes), None)
        rows, bad = (rows, None) if wrong_at is None else (rows[:wrong_at], rows[wrong_at])
        turns, end = {index for index, body in rows if b'"key.rotated"' in body}, position + len(rows)
        for stop in sorted({each for each in sizes | turns if position < each < end} | {end}):
            hashes, level, sha256 = [sha(b"\0", body) for _, body in rows[: stop - position]], 0, hashlib.sha256
            while hashes:
                if level % step == 0:
                    compare(level, done[level], hashes)
                done[level] += len(hashes)
                row = waiting[level] + hashes
                waiting[level] = [row.pop()] if len(row) % 2 else []
                hashes = [sha256(b"\1" + left + right).digest() for left, right in zip(row[::2], row[1::2], strict=True)]
                level += 1
            rows, position, roots[stop] = rows[stop - position :], stop, root()
            links += [(stop, rows[0][1], roots[stop])] if stop in turns and rows else []
        if bad is not None:
            problem = f"is no blob but {type(bad[1]).__name__}" if bad[0] == position else f"is missing: the next one stored is {bad[0]}"
            return position, roots, links, [*findings, Finding(f"entry {position}", problem)]
    (stored,), expected = database.execute("SELECT count(*) FROM log_nodes").fetchone(), sum(done[::step])
    if stored != expected:
        findings.append(Finding("log_nodes", f"expected {expected} nodes for these entries, got {stored}"))
    return position, roots, links, findings


def open_database(path: Path) -> sqlite3.Connection:
    """One consistent read of the two tables as they were made: no column that nothing covers, no view, no trigger. Raises Broken."""
    still = "" if os.access(path.parent, os.W_OK) else "&immutable=1"  # a copy that nobody may write needs no lock file
    database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro{still}", uri=True, isolation_level=None)
    database.text_factory = lambda raw: raw.decode(errors="replace")  # text where a blob belongs must not stop us
    database.execute("BEGIN")
    for table, expected in TABLES.items():
        columns = [(row[1], row[2].upper(), row[5]) for row in database.execute(f"PRAGMA table_info({table})")]
        kinds = database.execute("SELECT type, name FROM sqlite_master WHERE tbl_name = ? AND type <> 'index'", (table,)).fetchall()
        if columns != expected or kinds != [("table", table)]:
            raise Broken(f"table {table} is not as it was made")
    return database


def open_tiles(folder: Path, size: int) -> sqlite3.Connection:
    """The same, in a file that goes away, of C2SP tlog-tiles: hashes of each eighth level, and bundles of length in two bytes, entry, …"""
    database, size = sqlite3.connect(""), min(size, WIDTH * sum(1 for _ in folder.rglob("*")))  # whoever claims more keeps nobody busy
    tables = "log_entries (idx INTEGER PRIMARY KEY, body)", "log_nodes (level, idx, hash, UNIQUE (level, idx))"
    database.executescript("".join(f"CREATE TABLE {table};" for table in tables))
    for level in range(-1, size.bit_length() // 8 + 1):
        for start in range(0, total := size >> 8 * max(level, 0), WIDTH):
            *upper, last = [f"{int(part):03}" for part in f"{start // WIDTH:,}".split(",")]
            path, width = folder.joinpath("entries" if level < 0 else str(level), *(f"x{part}" for part in upper), last), WIDTH
            if not path.is_file():  # else the partial one may be gone
                path, width = path.with_name(f"{last}.p") / str(total - start), total - start
            raw, parts, skip = path.read_bytes() if path.is_file() else b"", list[bytes](), 2 if level < 0 else 0
            while raw:
                end = 2 + int.from_bytes(raw[:2], "big") if skip else 32
                parts, raw = [*parts, raw[skip:end]], raw[end:]
            if len(parts) == width:  # else it is not what it says: nothing of it is taken, and its entries are missing
                into, row = ("log_entries VALUES (?, ?)", ()) if level < 0 else ("log_nodes VALUES (?, ?, ?)", (8 * level,))
                database.executemany(f"INSERT INTO {into}", [(*row, at, part) for at, part in enumerate(parts[: total - start], start)])
    return database


class Report(NamedTuple):
    """What came out; `entries` in the log, of which the first `covered` are under a checkpoint; `trust`: with every key of the log."""

    findings: tuple[Finding, ...]
    entries: int = 0
    covered: int = 0
    trust: Trust = Trust()


def verify_log(log: Path, checkpoint: Path, trust: Trust | Key, last_seen: Path | None = None, held: Sequence[Any] = ()) -> Report:
    """Recompute a log, in a database with its file of two slots, or in a folder of tiles with a checkpoint under its quorum, and hold it
    against that and `held` (place and note). `last_seen` is a file that keeps the newest checkpoint of the last run that found nothing."""
    trust, findings, entries, newest, best = Trust((trust,)) if isinstance(trust, Key) else trust, list[Finding](), 0, -1, ""
    with found(findings, f"log `{log}`"):
        # 1. checkpoints first: the log that is read afterwards can only be longer
        own, wrong = slots(checkpoint) if not (tiles := log.is_dir()) else ([("checkpoint", checkpoint.read_text(encoding="utf-8"))], [])
        seen = [("last-seen checkpoint", last_seen.read_text(errors="replace"))] if last_seen and last_seen.exists() else []
        sizes = {claimed(note) for _, note in (*own, *held, *seen)}
        with closing(open_tiles(log / "tile", max(sizes)) if tiles else open_database(log)) as database:  # 2. every leaf and node
            entries, roots, links, more = recompute(database, 8 if tiles else 1, sizes)
        trust, broken = follow(trust, links)  # 3. whose keys count; signatures, sizes and roots
        findings += [*wrong, *more, *broken]
        for place, note in (*own, *held, *seen):
            with found(findings, place):
                size, root = read_head(note, trust, quorum=tiles and (place, note) in own)
                newest, best = (size, note) if (place, note) in own and size > newest else (newest, best)
                if size > entries:
                    raise Broken(f"covers {size} entries, the log holds only the first {entries}")
                if roots[size] != root:
                    raise Broken(f"was signed over another root for {size} entries")
        findings += [Finding("checkpoint file", f"went back from size {n} to {newest}") for _, old in seen if (n := claimed(old)) > newest]
        if last_seen is not None and not findings:  # 4. remember
            (temporary := last_seen.with_name(last_seen.name + ".new")).write_text(best, encoding="utf-8")
            os.replace(temporary, last_seen)
    return Report(tuple(findings), entries, min(entries, max(newest, 0)), trust)


def canonical(passport: object) -> bytes:
    """The bytes that a digest is taken over: JSON with sorted keys, no spaces, UTF-8."""
    return json.dumps(passport, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def unseal(sealed: dict[str, Any], kind: str, keys: Iterable[Key]) -> bytes:
    """The payload of a DSSE envelope (v1.0.2), of this type and signed by one of `keys`, which its signature names. Raises Broken."""
    payload, made, named = decode(sealed["payload"]), sealed["signatures"], {f"{key.name}+{key.id.hex()}": key for key in keys}
    message = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)  # its pre-authentication encoding
    if sealed["payloadType"] != kind or not any(k.signed(decode(s["sig"]), message) for s in made if (k := named.get(s["keyid"]))):
        raise Broken("is not signed by " + " or ".join(f"`{key.name}` with key {key.id.hex()}" for key in named.values()))
    return payload


def verify_passport(envelope: bytes, trust: Trust | Key) -> str:
    """Signature, log proof under its quorum, and ε of Gaussian draws; no block is composed again. Raises Broken."""
    trust = Trust((trust,)) if isinstance(trust, Key) else trust
    statement = json.loads(unseal(json.loads(envelope), PAYLOAD_TYPE, trust.signing()))  # 1. the envelope; 2. the statement
    if (statement["_type"], statement["predicateType"]) != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise Broken(f"expected a {PREDICATE_TYPE} statement, got {statement['predicateType']}")
    passport, (_, _, raw) = statement["predicate"]["passport"], verify_proof(envelope, trust)  # 3. the log holds its release
    entry, named = json.loads(raw), {"passport": sha(canonical(passport)).hex(), "build": passport["build"]}
    problems = ["its log entry is about another passport or build"] * any(entry["facts"].get(what) != named[what] for what in named)
    problems += [f"its log entry is no release, expected `{RELEASED}`"] * (entry["action"] != RELEASED)
    problems += ["its subject is not its log entry"] * ([each["digest"].get("sha256") for each in statement["subject"]] != [sha(raw).hex()])
    shown = [what for what in ("utility", "fairness", "recipients") if passport["privacy"]["epsilon"] is None and passport[what]]
    problems += check_privacy(passport["privacy"]) + check_privacy(costs := passport["snapshot"])  # 4. what it cost, and its snapshot
    problems += ["its snapshot names no ε"] * (costs["epsilon"] is None) + [f"it shows `{what}` and names no ε" for what in shown]
    if problems:
        raise Broken("; ".join(problems))
    return f"is of build {passport['build']}"


def check_privacy(privacy: dict[str, Any]) -> list[str]:
    """The transcript adds up to what was charged, each line's noise is worth its μ², and ε is what that gives: with μ-GDP
    δ(ε) = Φ(−ε/μ + μ/2) − e^ε Φ(−ε/μ − μ/2) (Dong, Roth, Su 2022, Corollary 2.13), and (1 + e^ε)·draws·0.0202/2^48: noise is discrete."""
    total, draws, claim, delta = Fraction(privacy["mu_squared"]), int(privacy["draws"]), privacy["epsilon"], privacy["delta"]
    rows, mu = [(Fraction(row["mu_squared"]), row) for row in privacy["transcript"]], math.sqrt(total)

    def delta_of(epsilon: float) -> float:
        upper, tail = (0.5 * math.erfc((epsilon / mu + side * mu / 2) / math.sqrt(2)) if mu else 0.0 for side in (-1, 1))
        gaussian = upper - (math.exp(epsilon + math.log(tail)) if tail > 0 else 0.0)
        return max(0.0, gaussian) + (1 + math.exp(min(epsilon, 700.0))) * draws * 0.0202 / 2**48

    if claim is None and not (total or draws or rows):  # learned without differential privacy, and nothing can be paid for
        return [] if privacy["assurance"].startswith("none: ") else ["it names no ε, and does not say why"]
    added, block, floating = sum(each for each, _ in rows), privacy.get("block"), privacy["assurance"].startswith("floating point")
    fits = floating and block["delta"] == delta and claim <= block["epsilon"] < math.inf if block else not floating
    holds = {
        "its privacy transcript has a negative line": all(each >= 0 and row["draws"] >= 0 for each, row in rows),
        "its privacy transcript adds up to more than was charged": added <= total and sum(row["draws"] for _, row in rows) <= draws,
        f"ε is larger at δ {delta:g} than it claims, {claim:.9g}": delta_of(claim * (1 + 1e-9)) <= delta,
        f"ε is smaller at δ {delta:g} than it claims, {claim:.9g}": claim <= 1e-8 or delta_of((claim - 1e-8) / (1 + 1e-6)) > delta,
        "its block costs less than the draws within it, is not what its assurance says, or floating point names no block": fits,
    }  # the ledger rounds ε up, a little
    costly = [row["path"] for each, row in rows if not row["sigma"] > 0 or (row["bound"] / row["sigma"]) ** 2 > float(each) * (1 + 1e-9)]
    lines = [f"line `{path}` of its privacy transcript costs more than its μ²" for path in costly]
    return [*(problem for problem, fine in holds.items() if not fine), *lines]


def read_proof(raw: bytes) -> tuple[int, bytes, list[bytes], str]:
    """Index, entry, hashes and checkpoint, of a C2SP tlog-proof, or of a file that carries one: an opening, a passport."""
    document = json.loads(raw) if raw[:1] == b"{" else {"proof": raw.decode(errors="replace")}
    if "payload" in document:
        log = json.loads(base64.b64decode(document["payload"], validate=True))["predicate"]["log"]
        return log["index"], log["entry"].encode(), [decode(each) for each in log["hashes"]], log["checkpoint"]
    upper, _, note = document["proof"].partition("\n\n")
    if not (parts := re.fullmatch(re.escape(PROOF) + r"\nextra (\S*)\nindex (0|[1-9][0-9]{0,17})((?:\n\S+)*)", upper)):
        raise Broken(f"is no {PROOF} with its entry")
    return int(parts[2]), decode(parts[1]), [decode(line) for line in parts[3].split()], note


def verify_proof(raw: bytes, trust: Trust | Key) -> tuple[int, int, bytes]:
    """Size of a log, index and entry, of a file with a proof under a checkpoint that has its quorum. Raises Broken."""
    index, body, hashes, note = read_proof(raw)
    size, root = read_head(note, trust, quorum=True)
    verify_inclusion(index, size, sha(b"\0", body), hashes, root)
    return size, index, body


def verify_opening(raw: bytes, trust: Trust | Key, beside: Path = Path("answer.json")) -> str:
    """What an entry commits to under a salt, of a file that opens it and carries the entry: what a build did with a subject, what they
    said, or an officer's answer, whose documents are beside it. Raises Broken."""
    (_, index, body), given = verify_proof(raw, trust), json.loads(raw)
    entry, leaf, value = json.loads(body), given["opening"], given["opening"]["value"]
    whole = [*given, *leaf] == ["type", "opening", "proof", "value", "salt", *(["index", "proof"] if entry["action"] != ANSWERED else [])]
    spelt = whole and raw == json.dumps(given, ensure_ascii=False, indent=1).encode() + b"\n"  # else its reader may see something else
    if given["type"] != OPENING or (action := entry["action"]) not in LEAVES or not spelt:
        raise Broken(f"is no {OPENING} of an entry of {[*LEAVES]}, or not spelt as it was written")
    parts = COMMITMENT, bytes.fromhex(leaf["salt"]), canonical(value) if action == ANSWERED else value.encode()
    commitment = sha(*(part for each in parts for part in (len(each).to_bytes(8, "big"), each)))
    root, size = bytes.fromhex((facts := entry["facts"])[LEAVES[action][0]]), facts.get(LEAVES[action][1])
    if action == ANSWERED:
        if commitment != root:
            raise Broken(f"entry {index} does not commit to what was asked, what is said and this salt")
        means = {beside.with_name(Path(name).name): digest for name, digest in value["answer"]["documents"].items()}
        for path, digest in means.items():
            if not path.exists() or f"sha256:{sha(path.read_bytes()).hex()}" != digest:
                raise Broken(f"the document that it means, {digest}, is not beside it as `{path.name}`")
        return f"entry {index} of {entry['at']} commits to this answer and its documents, {[path.name for path in means]}"
    verify_inclusion(leaf["index"], size, sha(b"\0", commitment), [bytes.fromhex(each) for each in leaf["proof"]], root)
    if action == "consent.append":
        said = {name: each for name, each in zip(FIELDS, json.loads(value), strict=False) if each is not None}
        return f"entry {index} commits to a consent event, times in µs since 1970: {said}"
    within = f"round {facts['round']} of `{facts['collaboration']}`" if action == LEFT else f"build {facts['build']}"
    of = rf"[^\n/]+/round-{facts['considered_since']:d}" if action == LEFT else re.escape(facts["build"])
    ((subject, reason),) = re.findall(rf"(?s)\A{of}\n(.*)\n(\d+)\Z", value)
    outcome = "used" if reason == "0" else f"left out: {(*REASONS, reason)[min(int(reason), len(REASONS))]}"
    return f"in {within}, `{subject}` was {outcome}"


@contextmanager
def found(findings: list[Finding], place: str, before: str = "") -> Iterator[None]:
    """What does not verify in the block becomes a finding."""
    try:
        yield
    except (Broken, *MALFORMED) as error:
        kind = "" if isinstance(error, Broken) else f"is malformed: {type(error).__name__} "
        findings.append(Finding(place, f"{before}{kind}{error}"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, verify, print; returns the exit code."""
    given: dict[str, list[str]] = {name: [] for name in ("key", "trust", "database", "checkpoint", "tiles", "last-seen", *MANY, "json")}
    try:
        for word in (words := iter(sys.argv[1:] if arguments is None else arguments)):
            given[word.removeprefix("--")].append("" if word == "--json" else next(words))
        once = {name: Path(each[0]) for name, each in given.items() if len(each) == 1 or (each and name in MANY)}
        log, whole = once.get("tiles") or once.get("database"), ("database" in once) == ("checkpoint" in once)
        wrong = not whole or {"database", "tiles"} <= {*once} or {name for name, each in given.items() if each} != {*once}
        if wrong or ("key" in once) == ("trust" in once) or not (log or ({*MANY} & {*once} and "last-seen" not in once)):
            raise ValueError("give --key or --trust, and a log with its checkpoint, or what was taken from one; each of these once")
        text = once["key"].read_text(encoding="utf-8") if "key" in once and once["key"].is_file() else "".join(given["key"])
        trust = parse_policy(once["trust"].read_bytes()) if "trust" in once else Trust((parse_key(text),))
        files = {(kind, path): Path(path).read_bytes() for kind in MANY for path in given[kind]}
    except (OSError, ValueError, KeyError, StopIteration) as error:
        print(f"{__doc__}\nerror: {type(error).__name__} {error}", file=sys.stderr)
        return 2
    shown, links, report, held = list[str](), list[Link](), Report((), trust=trust), list[tuple[str, str]]()
    for (kind, path), raw in files.items():
        with found([], ""):  # its checkpoint, for the log to be held against; whether it can be read is verified below
            held.append((f"checkpoint of {kind} `{path}`", read_proof(raw)[3]))
    if log:
        report = verify_log(log, once.get("checkpoint", log / "checkpoint"), trust, once.get("last-seen"), held)
    trust, findings = report.trust, [*report.findings]
    for (kind, path), raw in files.items():
        with found(findings, place := f"{kind} `{path}`"):
            if kind == "proof" and raw[:1] != b"{":  # what carries one says more than its entry
                size, index, body = verify_proof(raw, trust)
                shown.append(f"{place}: entry {index} is in the log of {size} entries: {body.decode(errors='replace')}")
                links.append((index, body, None))
                trust, findings[len(findings) :] = (trust, []) if log else follow(trust, links)
            else:
                shown.append(f"{place}: {verify_passport(raw, trust) if kind == 'passport' else verify_opening(raw, trust, Path(path))}")
    shown += [f"{report.entries} entries, {report.covered} covered by a checkpoint, {report.entries - report.covered} not yet"] * bool(log)
    told = [*(f"{each.place}: {each.problem}" for each in findings), *shown, "integrity broken" if findings else "nothing wrong found"]
    data = {"findings": [finding._asdict() for finding in findings], "entries": report.entries, "covered": report.covered, "shown": shown}
    print((json.dumps(data, ensure_ascii=False, indent=2) if given["json"] else "\n".join(told)).encode(errors="backslashreplace").decode())
    return BROKEN if findings else 0


if __name__ == "__main__":
    sys.exit(main())
