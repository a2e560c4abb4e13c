"""The verifier of a joint model's passport: of everything that others signed in it too, with nothing but the file and the log's key.

    python -m audit.joint_verify KEY PASSPORT …        (with this file and verify.py in a folder `audit`, and nothing else of ours)

    log's key ──> passport ──digest──> contract, signed by every partner ──keys──> what each partner signed when it got the model

Like `audit.verify`, on whose formulas it rests: the standard library and `cryptography`, plain JSON, nothing of the code that made what
is verified. A coordinator who lies about its partners is found, because each of them signed what it says; a contract that somebody made
up is found by whoever holds the digest of the one that it signed. Not here: the model itself, of which a digest is shown, and a partner's
transcript, whose head is (`federated.transcript`). Exit code: 0 nothing found, 6 integrity broken, 2 wrong usage.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import reduce
from pathlib import Path
from typing import Any

from audit.verify import (
    BROKEN,
    PAYLOAD_TYPE,
    STATEMENT_TYPE,
    Broken,
    Finding,
    Key,
    Trust,
    canonical,
    check_privacy,
    decode,
    found,
    parse_key,
    sha,
    unseal,
    verify_proof,
)

PREDICATE_TYPE = "https://consentric.dev/joint-passport/v1"
RELEASED = "collaboration.released"
"""Action of the log's entry."""

CONTRACT, ACKNOWLEDGED = "application/vnd.consentric.collaboration+json", "application/vnd.consentric.acknowledgement+json"
"""Types of what partners sign."""

PARTNERS = 1000
"""Most of a contract: each of them is looked for among all signatures, and a few megabytes of them would take hours."""

DRAWS = 1 << 20
"""Draws that ε of what a partner charged is for: as many as it reserved."""


FIELDS = {
    "statement": "_type subject predicateType predicate",
    "predicate": "passport log signed",
    "log": "index entry hashes checkpoint",
    "signed": "contract acknowledged",
    "passport": "collaboration contract purpose outcome rounds partners silent privacy utility",
    "privacy": "mu_squared draws delta epsilon assurance transcript",
    "line": "path step part mu_squared bound sigma draws",
    "partner": "name key head mu_squared epsilon missed",
    "verdict": "attribute measure outcome group verdict low high detectable",
}
"""All that there is: what nothing here checks is in no file that verifies."""

DIGITS = 200
"""Of a numerator or a denominator that is read."""

_EXACT = re.compile(f"[0-9]{{1,{DIGITS}}}(/[1-9][0-9]{{0,{DIGITS - 1}}})?")


def exact(text: str) -> Fraction:
    """A fraction `p/q` that somebody else wrote, and nothing else that `Fraction` reads: an exponent keeps a reader busy for ever.

    Raises ValueError.
    """
    if not _EXACT.fullmatch(text):
        raise ValueError("expected a fraction `p/q` of whole numbers, not below 0")
    return Fraction(text)


def plus(one: Fraction, more: Fraction) -> Fraction:
    """A sum that `exact` could read. Many lines whose denominators have nothing in common add up to one of thousands of digits, and keep a
    reader busy for ever. Raises ValueError."""
    if (both := one + more).denominator >= 10**DIGITS:
        raise ValueError(f"charges add up to no fraction of {DIGITS} digits")
    return both


def verify_joint(envelope: bytes, trust: Trust | Key) -> str:
    """What a passport shows, in words. Raises Broken with everything that is wrong, or one of `audit.verify.MALFORMED`.

    (1) A key of the log signed it, as a joint passport; (2) the log holds the entry that releases this very passport; (3) the contract has
    the digest that it names, and every partner of the contract signed that; (4) all partners of the contract are there, with their keys,
    as one that signed for the model or as one that has not; (5) each signed for this contract, this model, the head and the charge that
    are shown, and charged no less than it answered for; (6) charges add up to an ε that the contract allows, in no more rounds;
    (7) fairness verdicts are about the attributes that the contract names, each of its groups, and about no other.
    """
    trust = Trust((trust,)) if isinstance(trust, Key) else trust
    statement = json.loads(unseal(json.loads(envelope), PAYLOAD_TYPE, trust.signing()))
    if (statement["_type"], statement["predicateType"]) != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise Broken(f"expected a {PREDICATE_TYPE} statement, got {statement['predicateType']}")
    passport, signed = statement["predicate"]["passport"], statement["predicate"]["signed"]
    _, _, entry = verify_proof(envelope, trust)
    contract = _agreed(signed["contract"], passport["contract"])
    problems = [
        *_fields(statement),
        *_released(passport, entry, statement["subject"]),
        *_partners(passport, contract),
        *_cost(passport, contract),
        *_groups(passport, contract),
    ]
    shares, acknowledged = passport["partners"], signed["acknowledged"]
    for share, said in zip(shares, acknowledged, strict=True):
        problems += [f"partner `{share['name']}` {problem}" for problem in _signed(share, said, passport)]
    if problems:
        raise Broken("; ".join(problems))
    silent = f", {', '.join(passport['silent'])} has not" if passport["silent"] else ""
    return f"is of collaboration {passport['collaboration']}, {passport['rounds']} rounds; {len(shares)} partners signed for it{silent}"


def _agreed(envelope: dict[str, Any], digest: str) -> dict[str, Any]:
    """The contract of an envelope, which is that of a digest, and which every key that it names signed. Raises Broken."""
    payload = b""
    if len(named := json.loads(decode(envelope["payload"]))["partners"]) > PARTNERS:
        raise Broken(f"its contract names {len(named)} partners, expected at most {PARTNERS}")
    for text in named:
        try:
            payload = unseal(envelope, CONTRACT, [key := parse_key(text)])
        except Broken:
            raise Broken(f"its contract is not signed by `{key.name}`") from None
    if not named or sha(payload).hex() != digest:
        raise Broken("its contract is another than the one that it names")
    contract: dict[str, Any] = json.loads(payload)
    return contract


def _fields(statement: dict[str, Any]) -> Iterator[str]:
    predicate = statement["predicate"]
    passport, privacy = predicate["passport"], predicate["passport"]["privacy"]
    whole = [("statement", statement), ("predicate", predicate), ("log", predicate["log"]), ("signed", predicate["signed"])]
    lines = [("line", row) for row in privacy["transcript"]]
    shares = [("partner", share) for share in passport["partners"]]
    verdicts = [("verdict", row) for row in passport.get("fairness", [])]  # left out where the contract names no groups
    own = ("passport", {name: each for name, each in passport.items() if name != "fairness"})
    places = [*whole, own, ("privacy", privacy), *lines, *shares, *verdicts]
    yield from (f"its {place} has other fields than a joint passport's" for place, each in places if {*each} != {*FIELDS[place].split()})
    if type(passport["rounds"]) is not int:
        yield "its rounds are no whole number"


def _released(passport: dict[str, Any], entry: bytes, subjects: list[dict[str, Any]]) -> Iterator[str]:
    facts, action = json.loads(entry)["facts"], json.loads(entry)["action"]
    named = {
        "passport": sha(canonical(passport)).hex(),
        "contract": f"sha256:{passport['contract']}",
        "outcome": f"sha256:{passport['outcome']}",
        "collaboration": passport["collaboration"],
    }
    if action != RELEASED or any(facts.get(what) != value for what, value in named.items()):
        yield "its log entry is no release of this passport"
    if subjects != [{"name": f"joint/{passport['collaboration']}", "digest": {"sha256": sha(entry).hex()}}]:
        yield "its subject is not its log entry"


def _partners(passport: dict[str, Any], contract: dict[str, Any]) -> Iterator[str]:
    keys = {key.name: key for key in map(parse_key, contract["partners"])}
    told = {share["name"]: parse_key(share["key"]) for share in passport["partners"]}
    order = [name for name in keys if name in told], [name for name in keys if name not in told]
    if ([*told], passport["silent"]) != order or len(told) != len(passport["partners"]) or told.items() - keys.items():
        yield "its partners are not those of its contract, with their keys and in its order"
    if len(told) < contract["least_partners"]:
        yield f"{len(told)} partners signed for the model, the contract needs {contract['least_partners']}"
    for what, expected in (("collaboration", contract["name"]), ("purpose", contract["purpose"])):
        if passport[what] != expected:
            yield f"its {what} is not that of its contract"


def _cost(passport: dict[str, Any], contract: dict[str, Any]) -> Iterator[str]:
    privacy, rows, allowed = passport["privacy"], passport["privacy"]["transcript"], contract["privacy"]
    charged, lines = exact(privacy["mu_squared"]), [exact(row["mu_squared"]) for row in rows]
    added = reduce(plus, lines, Fraction(0))  # before anything else adds them up
    yield from check_privacy(privacy)
    if added != charged or sum(row["draws"] for row in rows) != privacy["draws"]:
        yield "its privacy transcript is not all that was charged"
    if any(not math.isclose((row["bound"] / row["sigma"]) ** 2, line, rel_tol=1e-9) for row, line in zip(rows, lines, strict=True)):
        yield "a line of its privacy transcript has other noise than its μ² says"
    if not passport["rounds"] == len(rows) <= contract["rounds"]:
        yield f"it names {passport['rounds']} rounds, its transcript {len(rows)}, and its contract allows {contract['rounds']}"
    if privacy["delta"] != allowed["delta"] or privacy["epsilon"] is None or privacy["epsilon"] > allowed["epsilon"] * (1 + 1e-9):
        yield f"it cost more than its contract allows, ε {allowed['epsilon']} at δ {allowed['delta']}"
    if contract["dropouts"] == 0 and any(exact(share["missed"]) for share in passport["partners"]):
        yield "a partner was lost in a round, and the contract has no round without one"


def _groups(passport: dict[str, Any], contract: dict[str, Any]) -> Iterator[str]:
    """A crossing of two attributes may be left out, where it was too fine to be asked for."""
    named = {name: {*each["groups"]} for name, each in contract.get("fairness", {"attributes": {}})["attributes"].items()}
    shown: dict[str, set[str]] = {}
    for row in passport.get("fairness", []):
        shown.setdefault(row["attribute"], set()).add(row["group"])
    crossings = {f"{one} × {other}" for one in named for other in named}
    if any(shown.get(name) != groups for name, groups in named.items()) or not shown.keys() <= named.keys() | crossings:
        yield "its fairness verdicts are not about the groups of its contract"


def _signed(share: dict[str, Any], envelope: dict[str, Any], passport: dict[str, Any]) -> Iterator[str]:
    """What one partner did not sign, or did not pay."""
    try:
        said = json.loads(unseal(envelope, ACKNOWLEDGED, [parse_key(share["key"])]))
    except Broken:
        yield "did not sign what is shown of it"
        return
    shown = {"contract": passport["contract"], "outcome": passport["outcome"], "head": share["head"]}
    digests = {what: f"sha256:{digest}" if digest else "" for what, digest in shown.items()}  # nothing may have left before the model came
    expected = {**digests, "spent": share["mu_squared"]}
    yield from (f"signed for another `{what}`" for what in expected if said.get(what) != expected[what])
    spent, missed, cost = (exact(each) for each in (share["mu_squared"], share["missed"], passport["privacy"]["mu_squared"]))
    if missed > cost or spent + missed < cost:
        yield "charged less than what it answered costs"
    worth = {"mu_squared": share["mu_squared"], "epsilon": share["epsilon"], "draws": DRAWS, "transcript": []}
    yield from (f"charged what is worth another ε: {problem}" for problem in check_privacy(passport["privacy"] | worth))


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify each file, print what it shows or what is wrong with it; returns the exit code."""
    findings, shown = list[Finding](), list[str]()
    try:
        text, *paths = sys.argv[1:] if arguments is None else arguments
        key, files = parse_key(text), {path: Path(path).read_bytes() for path in paths}
        if not files:
            raise ValueError("expected at least one passport")
    except (OSError, ValueError) as error:
        print(f"{__doc__}\nerror: {error}", file=sys.stderr)
        return 2
    for path, raw in files.items():
        with found(findings, f"passport `{path}`"):
            shown.append(f"passport `{path}` {verify_joint(raw, key)}")
    told = [*(f"{each.place} {each.problem}" for each in findings), *shown, "integrity broken" if findings else "nothing wrong found"]
    print("\n".join(told).encode(errors="backslashreplace").decode())
    return BROKEN if findings else 0


if __name__ == "__main__":
    sys.exit(main())
