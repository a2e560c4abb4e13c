"""What was learned with others: what left this house for it, whether a subject was used in a round, and, where it was led, who took part.

The log has an entry of every payload that left and of every refusal, and of every round that was begun; a transcript and a joint passport
come with an answer as documents, which `partner transcript verify` and `collaboration check` verify by themselves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from audit.log import Entry
from audit.merkle import IntegrityError
from engine.questions.archive import Archive
from engine.questions.builds import by_key
from engine.questions.question import COLLABORATION, ON, ROUND, SUBJECT, Answer, Asking, Draft, Question
from engine.wording import reason_words
from engine.workspace import WorkspaceError
from governance import partnerships
from governance.partnerships import Partnership
from governance.roles import Action
from governance.verdicts import Reason
from policies.documents import digest_of

SHOWN = 100
"""Entries of one kind that an answer rests on, the newest."""

LEFT, VECTOR = "collaboration.answered", "vector"
"""Action of what left, and the step at which something of people leaves, and is charged."""


def what_left(archive: Archive, _asked: Asking) -> Answer:
    """Every payload that left for a collaboration, round by round, what it cost, and every refusal."""
    told, joined = Draft(), _joined(archive)
    if joined.created > archive.past:
        raise WorkspaceError(
            f"`--on`: got `{archive.asked.on}`, expected a day from {joined.created:%Y-%m-%d}, when `{joined.name}` was joined"
        )
    told.say(
        f"`{joined.name}` was joined on {joined.created:%Y-%m-%d} with segment `{joined.segment}`, under contract {joined.contract}",
        contract=joined.contract,
        segment=joined.segment,
        build=joined.build,
    )
    told.rest_on(archive.entry(partnerships.JOINED, joined.created, contract=joined.contract), "that this house joined")
    told.attach(f"contract-{joined.name}.json", joined.envelope.decode())
    left = archive.entries(LEFT, until=archive.past, contract=joined.contract)
    ended = archive.entries("collaboration.ended", last=1, until=archive.past, contract=joined.contract)
    spent = _transcript(archive, told, joined, left, [*left, *ended][-1:])
    by_round: dict[int, list[Entry]] = defaultdict(list)
    for entry in left:
        by_round[entry.parsed["facts"]["round"]].append(entry)
    rows = [_round(entries, spent) for _, entries in sorted(by_round.items())]
    told.table("rounds", rows, ("round", "asked for", "what left", "bytes", "μ² charged", "ε so far", "refused"))
    facts = [entry.parsed["facts"] for entry in left]
    vectors = [entry for entry, said in zip(left, facts, strict=True) if said["step"] == VECTOR and "code" not in said]
    refusals = [entry for entry, said in zip(left, facts, strict=True) if "code" in said]
    charged = sum((Fraction(said["mu_squared"]) for said in facts if "mu_squared" in said), Fraction(0))
    worth, size = spent[left[-1].index] if left else "0", sum(said["size"] for said in facts)
    told.say(
        f"{len(left)} payloads of {size:,} bytes left, {len(refusals)} of them refusals; something of people is in {len(vectors)} of them, "
        f"with noise and masked, for ε {worth} in all",
        payloads=len(left),
        bytes=size,
        refusals=len(refusals),
        vectors=len(vectors),
        mu_squared=str(charged),
        epsilon=worth,
    )
    for entry in vectors[-SHOWN:]:
        told.rest_on(entry, "a masked vector left, by its digest, with the root of whom it was about")
    for entry in refusals[-SHOWN:]:
        told.rest_on(entry, "a refusal, as its one word")
    for entry in ended:
        told.rest_on(entry, "the end, with the last head of the transcript")
        told.say("the collaboration has ended: nothing more leaves", ended=True)
    if len(vectors) > SHOWN or len(refusals) > SHOWN:
        told.say(f"of vectors and of refusals the newest {SHOWN} entries are cited; the transcript has all")
    if refusals:
        told.lack("why a refusal was made: one word left, and it is the same for every reason that others must not tell apart")
    return told.answer()


def subject_in_round(archive: Archive, asked: Asking) -> Answer:
    """Whether a partner's round used the rows of a subject, opened from the record whose root the entry of its vector names."""
    from engine import considered
    from engine.partners.attendance import named, record_of

    told, joined = Draft(), _joined(archive)
    keys, left = archive.keys, archive.entries(LEFT, contract=joined.contract, step=VECTOR)
    vectors = {entry.parsed["facts"]["round"]: entry for entry in left if "consent_root" in entry.parsed["facts"]}
    entry = vectors.get(asked.round or 0)
    told.say(f"round {asked.round} of `{joined.name}`, contract {joined.contract}", contract=joined.contract, round=asked.round)
    if entry is None or joined.build is None:
        told.say(f"nothing of people left in it; something did in rounds {sorted(vectors)}", used=False, rounds=sorted(vectors))
        return told.answer()
    told.rest_on(entry, "what left in the round, and the root of the salted commitments to whom it considered")
    since = entry.parsed["facts"]["considered_since"]
    path, of = record_of(archive.workspace, joined.build, since), named(joined.build, since)
    if not path.exists():
        told.lack("whom the round considered: the build is over, and its record of people was deleted")
        return told.answer()
    opened = [(key, leaf) for key in keys if (leaf := considered.opening(path, of, key)) is not None]
    for key, leaf in opened:
        did = "were used" if leaf.trained else f"were left out: {reason_words(leaf.reason)}"
        which = f"; by the record of round {since}, since which nothing had changed" if since != asked.round else ""
        told.say(f"the rows of this subject{by_key(archive, key)} {did}{which}")
        told.open_leaf(entry, of, key)
    if opened:
        told.fact(used=any(leaf.trained for _, leaf in opened), reasons=[Reason(leaf.reason).name.lower() for _, leaf in opened])
    else:
        told.lack("a leaf of this subject: they were not registered then, or were erased since; the root shows that none can be added now")
    return told.answer()


def joint_training(archive: Archive, _asked: Asking) -> Answer:
    """Who took part in what was led here, what each says that it charged, and which rounds there were, aborted ones too."""
    from engine.collaborations import contracts

    told = Draft()
    envelope = contracts.of(archive.workspace, archive.asked.collaboration or "")
    contract, digest = envelope.contract, str(envelope.digest)
    told.say(f"`{contract.name}`, for {contract.purpose}, under contract {digest}", contract=digest, purpose=contract.purpose)
    told.say(f"signed by {', '.join(each.name for each in envelope.signed) or 'nobody'}", signed=[each.name for each in envelope.signed])
    told.attach(f"contract-{contract.name}.json", envelope.raw.decode())
    for entry in archive.entries("collaboration.drawn-up", last=1, until=archive.past, contract=digest):
        told.rest_on(entry, "that the contract was drawn up here")
    _rounds(archive, told, digest)
    for entry in archive.entries("collaboration.learned", until=archive.past, contract=digest):
        facts = entry.parsed["facts"]
        told.say(f"a model was learned in {facts['rounds']} rounds: {facts['outcome']}", outcome=facts["outcome"])
        told.rest_on(entry, "the digest of what partners were told, before anybody was")
    released = archive.entries("collaboration.released", until=archive.past, contract=digest)
    for entry in released:
        told.rest_on(entry, "a release of the model, with the digest of its passport")
    if envelope.missing or not released:
        told.lack("what each partner charged: it signs for that when it gets the model, and none was released until then")
        return told.answer()
    _shares(archive, told, contracts.run_folder(archive.workspace, envelope.digest), released[-1])
    return told.answer()


def _joined(archive: Archive) -> Partnership:
    """The collaboration that was asked for. Raises WorkspaceError for one that this house did not join."""
    name = archive.asked.collaboration or ""
    if found := partnerships.find(archive.session, name):
        return found
    known = [each.name for each in partnerships.partnerships(archive.session)]
    raise WorkspaceError(f"`--collaboration`: got `{name}`, expected one that this house joined: {known}")


def _round(entries: Sequence[Entry], spent: dict[int, str]) -> tuple[str, ...]:
    """One round as a row; what stands outside of rounds costs nothing, and came before and after them."""
    facts = [entry.parsed["facts"] for entry in entries]
    charged = sum((Fraction(said["mu_squared"]) for said in facts if "mu_squared" in said), Fraction(0))
    return (
        str(facts[0]["round"]) if facts[0]["round"] else "-",
        ", ".join(dict.fromkeys(said["path"] for said in facts if said["path"])) or "-",
        ", ".join(dict.fromkeys(said["step"] for said in facts if "code" not in said and said["step"])) or "-",
        str(sum(said["size"] for said in facts)),
        _small(charged) if charged else "-",
        spent[entries[-1].index] if facts[0]["round"] else "-",
        ", ".join(said["code"] for said in facts if "code" in said) or "-",
    )


def _small(mu_squared: Fraction) -> str:
    return f"{float(mu_squared):.3g}"


def _transcript(archive: Archive, told: Draft, joined: Partnership, left: Sequence[Entry], newest: Sequence[Entry]) -> dict[int, str]:
    """ε until each entry, as the line of the transcript says that it names; `?` where there is none, or another. `newest`: the entry that
    names the head of then, if there is any."""
    from engine.partners import identity, places
    from federated import transcript

    path = places.folder(archive.workspace, joined.name) / places.TRANSCRIPT
    if not newest or not path.exists():
        nothing = "the transcript of what left, and ε with it: nothing had left until then"
        told.lack("the transcript: it is not where it was" if newest else nothing)
        return {entry.index: "?" for entry in left}
    raw, key = path.read_bytes(), identity.keys(archive.workspace).verifier
    lines = raw[: raw.rfind(b"\n") + 1].splitlines(keepends=True)
    heads = [digest_of(line.rstrip(b"\n")) for line in lines]
    named = newest[-1].parsed["facts"]["transcript"] if newest else transcript.NOTHING
    lines = lines[: heads.index(named) + 1 if named in heads else len(lines)]  # what left later is not seen
    found = transcript.verify(b"".join(lines), key, named)
    spent = {}
    for entry in left:
        at, head = entry.parsed["facts"]["entry"], entry.parsed["facts"]["transcript"]
        same = not found.findings and at < len(heads) and heads[at] == head
        spent[entry.index] = f"{found.entries[at].epsilon:.4g}" if same else "?"
    agree = not found.findings and "?" not in spent.values()
    problems = "; ".join(found.findings) or "it is another than the log names"
    told.say(f"the transcript, of {len(lines)} lines until then, is the one that the log names" if agree else f"the transcript: {problems}")
    told.fact(transcript={"lines": len(lines), "head": named, "verifier_key": str(key), "intact": agree})
    told.say(f"it verifies by itself: consentric partner transcript verify FILE --key {key} --head {named}")
    told.attach(f"transcript-{joined.name}.jsonl", b"".join(lines).decode(errors="replace"))
    return spent


def _rounds(archive: Archive, told: Draft, contract: str) -> None:
    """Every round that was begun, and how it ended."""
    begun: dict[int, dict[str, Any]] = {}
    ends: dict[int, str] = {}
    aborted = 0
    for entry in archive.entries("collaboration.round.intended", until=archive.past, contract=contract):
        begun.setdefault(entry.parsed["facts"]["round"], entry.parsed["facts"])
    for entry in archive.entries("collaboration.round.aborted", until=archive.past, contract=contract):
        facts = entry.parsed["facts"]
        paid = "partners may have charged for it" if facts["paid"] else "nobody charged for it"
        ends[facts["round"]] = f"aborted: {facts['said']}; {paid}"
        told.rest_on(entry, "a round that was aborted, who was lost, and whether anybody may have charged")
        aborted += 1
    answered = archive.entries("collaboration.round.answered", until=archive.past, contract=contract)
    for entry in answered:
        without = entry.parsed["facts"]["without"]
        again = "; aborted before, and asked again" if entry.parsed["facts"]["round"] in ends else ""
        ends[entry.parsed["facts"]["round"]] = ("answered" + (f", without {', '.join(without)}" if without else "")) + again
    for entry in answered[-SHOWN:]:
        told.rest_on(entry, "a round that was answered")
    rows = [(str(n), each["path"], _small(Fraction(each["mu_squared"])), ends.get(n, "open")) for n, each in sorted(begun.items())]
    told.table("rounds", rows, ("round", "asked for", "μ² of its sum", "what came of it"))
    told.say(f"{len(begun)} rounds were begun, {len(answered)} answered; rounds were aborted {aborted} times", aborted=aborted)


def _shares(archive: Archive, told: Draft, folder: Path, released: Entry) -> None:
    """What each partner signed for, of the passport that the newest release names."""
    from audit import joint_passport
    from engine.collaborations.contracts import PASSPORT

    path = folder / PASSPORT
    raw = path.read_bytes() if path.exists() else b""
    try:
        passport = joint_passport.read(raw, archive.workspace.keys.signer.verifier)
    except IntegrityError as error:
        told.lack(f"what each partner charged: the passport of the release does not verify: {error}")
        return
    if joint_passport.digest(passport) != released.parsed["facts"]["passport"]:
        told.lack("what each partner charged until then: the passport of that release was replaced by one that more partners signed for")
        return
    heads = {share.name: f"sha256:{share.head}" if share.head else "nothing had left" for share in passport.partners}
    rows = [(share.name, f"{share.epsilon:.4g}", share.mu_squared, heads[share.name]) for share in passport.partners]
    told.table("partners", rows, ("partner", "ε charged", "μ² charged", "its transcript until then"))
    told.say("each signed for this model and this charge", silent=[*passport.silent])
    told.say(f"all rounds cost a subject ε {passport.privacy.epsilon:.4g} at each partner where it is", epsilon=passport.privacy.epsilon)
    for attribute, verdict in joint_passport.verdicts(passport):
        told.say(f"fairness by {attribute}, over all partners: {verdict}")
        told.add("fairness", {"attribute": attribute, "verdict": verdict})
    for name in passport.silent:
        told.lack(f"what `{name}` charged: it has not said that it has the model")
    told.attach(f"joint-passport-{passport.collaboration}.json", raw.decode())
    key = archive.workspace.keys.verifier_key
    told.say(f"the passport verifies by itself: consentric collaboration check FILE --key {key} --digest sha256:{passport.contract}")
    told.lack("who is behind a partner's numbers: only that partner's own evidence says so")


LEFT_HERE = Question(
    "what-left",
    "What left this house for a collaboration, in which rounds, at what ε, and what was refused?",
    Action.READ_LOG,  # an entry of a vector names the record of whom it was about: a new one says that somebody came or went just then
    what_left,
    needs=COLLABORATION,
    takes=ON,
)
IN_ROUND = Question(
    "subject-in-round",
    "Was a subject used in a round of a collaboration?",
    Action.READ_SUBJECT,
    subject_in_round,
    needs=COLLABORATION | ROUND | SUBJECT,
)
JOINT = Question(
    "joint-training",
    "Who took part in a joint training that was led here, what was charged, and which rounds were aborted?",
    Action.READ_SEGMENTS,
    joint_training,
    needs=COLLABORATION,
    takes=ON,
)
