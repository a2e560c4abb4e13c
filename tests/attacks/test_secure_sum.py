"""A coordinator who lies, alone or with as many partners as the contract names, gets no more than the sum: each known attack is refused.

Bonawitz et al. 2017, section 6.2 (two lists of survivors), section 5 (swapped keys), and what upstream implementations were seen to
let through: nodes listed alive and dead, replayed rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from federated import shamir
from federated.masking import KEY_BYTES, End, Ring, agree, chacha20, mask_key, masked, own_key
from federated.messages import KEYS, Keys, Survivors, encoded
from federated.opening import unmasked
from federated.replies import AbortedError, Code, RefusedError
from federated.seat import Seat, ShortMemory
from policies.documents import Digest
from tests.collaborations import Seated, conducted, seated, signers, sitting, terms

FIVE = terms(5, 4, 1)
VALUES = np.array([[10**place, -place] for place in range(5)])


def code_of(attempt: Callable[[], object]) -> Code:
    with pytest.raises(RefusedError) as refused:
        attempt()
    return refused.value.code


def met(members: Mapping[str, Seated]) -> list[Keys]:
    return [member.keys() for member in members.values()]


def vectors(members: Mapping[str, Seated]) -> dict[str, Ring]:
    """Steps 1 to 3, everybody there."""
    roster = met(members)
    sealed = {name: member.shares(roster) for name, member in members.items()}
    inbox = {name: {sender: each[name] for sender, each in sealed.items() if sender != name} for name in members}
    return {name: member.vector(inbox[name]) for name, member in members.items()}


def everybody() -> Survivors:
    return Survivors(tuple(f"p{place}" for place in range(5)), ())


def without(name: str) -> Survivors:
    return Survivors(tuple(each for each in everybody().alive if each != name), (name,))


@pytest.mark.parametrize(
    "survivors",
    [
        Survivors(everybody().alive, ("p4",)),  # alive and dead: both seed and key of p4 would be opened
        Survivors(everybody().alive[:4], ()),  # neither
        Survivors((*everybody().alive, "p9"), ()),
        Survivors(everybody().alive, ("p9",)),
        Survivors((*everybody().alive, "p4"), ()),
        without("p0"),  # who is asked is said to be dead
        Survivors(("p0", "p1", "p2"), ("p3", "p4")),  # too few
    ],
    ids=["both", "neither", "stranger alive", "stranger dead", "twice", "me", "few"],
)
def test_a_list_that_would_open_too_much_is_not_signed(survivors: Survivors) -> None:
    members = seated(FIVE, VALUES)
    vectors(members)
    few = len(survivors.alive) < FIVE.least
    assert code_of(lambda: members["p0"].attest(survivors)) is (Code.TOO_FEW if few else Code.SURVIVORS)
    assert code_of(lambda: members["p0"].attest(everybody())) is Code.ORDER  # the round is over for p0


def test_a_second_list_and_a_second_opening_are_refused() -> None:
    members = seated(FIVE, VALUES)
    vectors(members)
    signatures = {name: member.attest(everybody()) for name, member in members.items()}
    assert code_of(lambda: members["p0"].attest(without("p4"))) is Code.ORDER
    assert code_of(lambda: members["p0"].opening(signatures)) is Code.ORDER  # asking twice ended it
    members["p1"].opening(signatures)
    assert code_of(lambda: members["p1"].opening(signatures)) is Code.ORDER


def test_p4_is_alive_for_some_and_dead_for_others_and_neither_list_finds_enough_signatures() -> None:
    """With one colluder: 2 · 4 > 5 + 1. Whoever is told that p4 is alive opens its seed, whoever is told that it is dead its key."""
    colluder = signers(5)[3]
    for told_alive in range(4):
        for who in combinations(["p0", "p1", "p2", "p4"], told_alive):
            members = seated(FIVE, VALUES)
            vectors(members)
            lists = {name: everybody() if name in who or name == "p4" else without("p4") for name in ("p0", "p1", "p2", "p4")}
            signed = {name: members[name].attest(each) for name, each in lists.items()}
            opened = set()
            for survivors in (everybody(), without("p4")):
                mine = {name: signed[name] for name, each in lists.items() if each == survivors}
                mine["p3"] = colluder.key.sign(survivors.statement(sitting()))
                for name in [name for name, each in lists.items() if each == survivors]:
                    try:
                        members[name].opening(mine)
                        opened.add(survivors)
                    except RefusedError as refused:
                        assert refused.code is Code.TOO_FEW
            assert len(opened) <= 1


@pytest.mark.parametrize("forged", ["other list", "other round", "other contract", "stranger", "coordinator", "dead", "kind"])
def test_a_forged_list_opens_nothing(forged: str) -> None:
    members = seated(FIVE, VALUES)
    vectors(members)
    survivors = without("p4")
    signatures = {f"p{place}": members[f"p{place}"].attest(survivors) for place in range(4)}
    other = signers(5)[3]
    match forged:
        case "other list":
            signatures["p3"] = other.key.sign(everybody().statement(sitting()))
        case "other round":
            signatures["p3"] = other.key.sign(survivors.statement(sitting(2)))
        case "other contract":
            signatures["p3"] = other.key.sign(survivors.statement(sitting(1, "sha256:other")))
        case "stranger":
            signatures["p9"] = signatures["p3"]
        case "coordinator":
            signatures["p3"] = signers(6)[5].key.sign(survivors.statement(sitting()))
        case "dead":
            del signatures["p3"]
            signatures["p4"] = signers(5)[4].key.sign(survivors.statement(sitting()))
        case "kind":
            said = {"alive": list(survivors.alive), "dead": list(survivors.dead)}
            signatures["p3"] = other.key.sign(encoded(KEYS, sitting(), said))
    expected = Code.SURVIVORS if forged in ("stranger", "dead") else Code.SIGNATURE
    assert code_of(lambda: members["p0"].opening(signatures)) is expected


def test_one_signature_counts_once() -> None:
    members = seated(FIVE, VALUES)
    vectors(members)
    signature = members["p0"].attest(everybody())
    assert code_of(lambda: members["p0"].opening(dict.fromkeys(["p0", "p1", "p2", "p3"], signature))) is Code.SIGNATURE


@pytest.mark.parametrize("swap", ["mask", "channel", "exchanged", "another's", "seed"])
def test_swapped_keys_are_seen(swap: str) -> None:
    members = seated(FIVE, VALUES)
    roster = met(members)
    mine = X25519PrivateKey.generate().public_key().public_bytes_raw()
    p1 = roster[1]
    roster[1] = {
        "mask": replace(p1, mask=mine),
        "channel": replace(p1, channel=mine),
        "exchanged": replace(p1, mask=p1.channel, channel=p1.mask),
        "another's": replace(roster[2], name="p1"),
        "seed": replace(p1, seed=roster[2].seed),
    }[swap]
    assert code_of(lambda: members["p0"].shares(roster)) is Code.SIGNATURE


@pytest.mark.parametrize("wrong", ["stranger", "twice", "not me", "other me", "few"])
def test_a_roster_of_others_is_refused(wrong: str) -> None:
    members = seated(FIVE, VALUES)
    roster = met(members)
    stranger = signers(6)[5]
    found = Keys("p5", bytes(32), bytes(31) + b"1", "", b"")
    match wrong:
        case "stranger":
            roster.append(replace(found, signature=stranger.key.sign(found.statement(sitting()))))
        case "twice":
            roster.append(roster[1])
        case "not me":
            roster = roster[1:]
        case "other me":
            roster[0] = replace(roster[0], signature=bytes(64))
        case "few":
            roster = roster[:3]
    assert code_of(lambda: members["p0"].shares(roster)) is (Code.TOO_FEW if wrong == "few" else Code.ROSTER)


def test_without_dropouts_a_partner_cannot_be_left_out() -> None:
    """Otherwise the coordinator would open the difference of two sums."""
    members = seated(terms(3), VALUES[:3])
    roster = met(members)
    assert code_of(lambda: members["p0"].vector(roster[:2])) is Code.TOO_FEW


def test_a_round_is_not_played_again_and_its_keys_are_of_no_use_in_another() -> None:
    memories = {f"p{place}": ShortMemory() for place in range(3)}
    first = seated(terms(3), VALUES[:3], sitting(7), memories=memories)
    roster = met(first)
    for member in first.values():
        member.vector(roster)
    for number in (7, 6, 0):
        with pytest.raises(RefusedError) as refused:
            seated(terms(3), VALUES[:3], sitting(number), memories=memories)
        assert refused.value.code is Code.REPLAYED
    later = seated(terms(3), VALUES[:3], sitting(8), memories=memories)
    mixed = [later["p0"].keys(), *roster[1:]]
    assert code_of(lambda: later["p0"].vector(mixed)) is Code.SIGNATURE


def test_a_partner_that_comes_again_with_the_keys_of_a_former_round_is_refused() -> None:
    """Its key may have been opened then: all pairs with it would be open too."""
    memory, partner = ShortMemory(), signers(2)[1]
    for number, expected in ((1, None), (2, Code.REPLAYED)):
        mine = seated(terms(2), VALUES[:2], sitting(number), memories={"p0": memory})["p0"]
        theirs = Seat(terms(2), sitting(number), partner, ShortMemory(), bytes([1]) * KEY_BYTES)
        roster = [mine.keys(), theirs.keys()]
        if expected is None:
            mine.vector(roster)
        else:
            assert code_of(lambda mine=mine, roster=roster: mine.vector(roster)) is expected


def test_one_key_in_two_places_of_a_roster_is_refused() -> None:
    members = seated(terms(2), VALUES[:2])
    key = X25519PrivateKey.generate().public_key().public_bytes_raw()
    found = Keys("p1", key, key, "", b"")
    roster = [members["p0"].keys(), replace(found, signature=signers(2)[1].key.sign(found.statement(sitting())))]
    assert code_of(lambda: members["p0"].vector(roster)) is Code.REPLAYED


@pytest.mark.parametrize("key", [bytes(32), b"short"], ids=["small order", "short"])
@pytest.mark.parametrize("dropouts", [0, 1])
def test_a_key_with_which_everybody_knows_the_secret_is_refused(key: bytes, dropouts: int) -> None:
    who = terms(3, 2, 1) if dropouts else terms(3)
    members = seated(who, VALUES[:3])
    found = Keys("p1", key, key + b"x" if key == b"short" else bytes([1, *bytes(31)]), "", b"")
    found = replace(found, signature=signers(3)[1].key.sign(found.statement(sitting())))
    roster = [members["p0"].keys(), found, members["p2"].keys()]
    step: Any = members["p0"].shares if dropouts else members["p0"].vector
    assert code_of(lambda: step(roster)) is Code.ROSTER


@pytest.mark.parametrize("changed", ["contract", "asked", "number"])
def test_partners_with_another_contract_or_question_do_not_understand_each_other(changed: str) -> None:
    other = {
        "contract": sitting(1, "sha256:other"),
        "asked": sitting(1, asked=Digest("sha256:other")),
        "number": sitting(2),
    }[changed]
    members = seated(terms(3), VALUES[:3]) | {"p2": seated(terms(3), VALUES[:3], other)["p2"]}
    roster = met(members)
    assert {code_of(lambda member=member: member.vector(roster)) for member in members.values()} == {Code.SIGNATURE}
    with pytest.raises(AbortedError):
        conducted(terms(3), seated(terms(3), VALUES[:3]) | {"p2": seated(terms(3), VALUES[:3], other)["p2"]}, 2)


def test_shares_for_one_partner_do_not_pass_with_another_or_in_another_round() -> None:
    members = seated(FIVE, VALUES)
    roster = met(members)
    sealed = {name: member.shares(roster) for name, member in members.items()}
    inbox = {name: sealed[name]["p1"] for name in ("p2", "p3", "p4")} | {"p0": sealed["p0"]["p2"]}
    assert code_of(lambda: members["p1"].vector(inbox)) is Code.SHARES
    swapped = {"p1": sealed["p2"]["p0"], "p2": sealed["p1"]["p0"], "p3": sealed["p3"]["p0"]}
    assert code_of(lambda: members["p0"].vector(swapped)) is Code.SHARES


def test_a_late_vector_stays_hidden_when_its_sender_was_said_to_be_dead() -> None:
    """The coordinator has the vector of p4 after all: its pairs are open then, its own mask is not."""
    members = seated(FIVE, VALUES)
    got = vectors(members)
    survivors = without("p4")
    living = {name: member for name, member in members.items() if name != "p4"}
    signatures = {name: member.attest(survivors) for name, member in living.items()}
    openings = {name: member.opening(signatures) for name, member in living.items()}
    assert code_of(lambda: members["p4"].attest(survivors)) is Code.SURVIVORS
    roster = {keys.name: keys for keys in members["p0"].asked["shares"]}
    assert code_of(lambda: unmasked(FIVE, sitting(), roster, got, Survivors(("p4",), ()), openings)) is Code.SHARES
    assert all("p4" not in each.seeds for each in openings.values())


@pytest.mark.parametrize(("n", "colluders"), [(3, 1), (5, 3), (7, 5)])
def test_as_many_colluders_as_named_cannot_take_the_masks_off_one_vector(n: int, colluders: int) -> None:
    """Without dropouts: with all keys of n − 2 partners, what is left of an honest vector is its pair with the other honest one."""
    who, values = terms(n), np.arange(4 * n).reshape(n, 4)
    members = seated(who, values, sitting())
    roster = {keys.name: keys for keys in met(members)}
    got = {name: member.vector(list(roster.values())) for name, member in members.items()}
    assert n - 2 == colluders
    victim = got["p0"]
    for name in list(members)[2:]:  # they pool their secret keys
        secret = members[name].seat._mask
        key = key_of(secret, End(name, roster[name].mask), End("p0", roster["p0"].mask))
        victim = victim - chacha20(key, 4)
    left = masked(values[0], "p0", [("p1", key_of(members["p0"].seat._mask, *_ends(roster)))], None)
    assert np.array_equal(victim, left) and not np.array_equal(victim.view(np.int64), values[0])


def key_of(secret: X25519PrivateKey, mine: End, theirs: End) -> bytes:
    return mask_key(sitting(), agree(secret, theirs), mine, theirs)


def _ends(roster: Mapping[str, Keys]) -> tuple[End, End]:
    return End("p0", roster["p0"].mask), End("p1", roster["p1"].mask)


def test_with_dropouts_colluders_who_opened_all_pairs_are_left_with_the_own_mask() -> None:
    """Two colluders, 2 · 4 > 5 + 2: even with the key of p0 their shares of its seed are two short."""
    members = seated(FIVE, VALUES)
    got = vectors(members)
    seat = members["p0"].seat
    roster = {keys.name: keys for keys in members["p0"].asked["shares"]}
    ends = {name: End(name, keys.mask) for name, keys in roster.items()}
    pairs = [(name, key_of(seat._mask, ends["p0"], ends[name])) for name in list(ends)[1:]]
    left = got["p0"] - masked(np.zeros(2, dtype=np.int64), "p0", pairs, None)
    assert np.array_equal(left - chacha20(own_key(sitting(), "p0", seat._seed), 2), VALUES[0].view(np.uint64))
    held = {FIVE.place(name): members[name].seat._held["p0"][1] for name in ("p3", "p4")}
    with suppress(ValueError):
        assert shamir.join(held, shamir.weights(held)) != seat._seed
