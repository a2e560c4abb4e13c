"""What the demo of partners shows at its end: joint segments beside central ones, and what left each partner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.demo import beside
from engine.demo.beside import Everybody
from engine.display import table
from federated.transcript import Verified

Facts = Mapping[str, Any]


def clusters(everybody: Everybody, joint: Facts, central: Facts) -> tuple[str, dict[str, Any]]:
    """Each central segment with the joint one that is nearest. `joint`, `central`: facts of builds; what of them is sizes is noisy."""
    models = joint["released_model"], central["released_model"]
    theirs, ours = joint["joint"]["parts"], central["parts"]
    alike = beside.agreement(everybody, *models)
    rows = [
        (ours[one]["name"], _size(ours[one]), _size(theirs[other]), f"{apart:.1%}", theirs[other]["description"])
        for one, other, apart in beside.pairs(*models)
    ]
    head = ("central", "size", "joint size", "apart", "joint centre")
    words = (
        f"joint and central agree by an adjusted Rand index of {alike:.3f} on everybody (1: the same, 0: chance; two central builds, with\n"
        "other noise, by about 0.9); apart: between centres, where it is most, as a share of a feature's range"
    )
    return f"{table(rows, head)}\n{words}", {"ari": alike, "centres_apart": max(apart for *_, apart in beside.pairs(*models))}


def scores(everybody: Everybody, joint: Facts, central: Facts) -> tuple[str, dict[str, Any]]:
    """How well both rank, and how many they select."""
    found = {name: beside.auc(everybody, facts["released_model"]) for name, facts in (("central", central), ("joint", joint))}
    parts = {"central": central["parts"][0], "joint": joint["joint"]["parts"][0]}
    headlines = {"central": central["headline"], "joint": joint["headline"].rpartition(": ")[2]}
    rows = [(name, f"{found[name]:.4f}", headlines[name], _size(part), part["description"]) for name, part in parts.items()]
    words = "the first AUC is exact, on everybody; the second came through the door, of a hold-out, with the noise that it has"
    return f"{table(rows, ('', 'AUC', 'as reported', 'selected', 'who'))}\n{words}", {f"auc_{name}": value for name, value in found.items()}


def left(transcripts: Mapping[str, Verified]) -> str:
    """What each partner's transcript says."""
    said = {name: figures(found) for name, found in transcripts.items()}
    rows = [
        (name, each["rounds"], each["messages"], f"{each['bytes']:,}", each["refusals"], f"{each['epsilon']:.3f}", each["transcript"])
        for name, each in said.items()
    ]
    return table(rows, ("partner", "rounds", "messages", "bytes", "refusals", "ε charged", "transcript"))


def figures(found: Verified) -> dict[str, Any]:
    """Of one transcript. Without rounds and messages nothing left."""
    said = [entry.left for entry in found.entries if entry.left.size]
    return {
        "rounds": len({each.round for each in said if each.charged is not None}),
        "messages": len(said),
        "bytes": sum(each.size for each in said),
        "refusals": sum(each.code is not None for each in said),
        "epsilon": found.entries[-1].epsilon if found.entries else 0.0,
        "transcript": "; ".join(found.findings) or "verified",
    }


def _size(part: Mapping[str, Any]) -> str:
    return f"~{part['size']:,.0f}"
