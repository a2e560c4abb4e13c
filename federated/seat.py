"""The sum of what partners hold, and nothing else: Bonawitz et al. 2017, "Practical secure aggregation for privacy-preserving
machine learning", figure 4, against a coordinator who lies.

A partner sits in a round on a `Seat`. Without dropouts it takes steps 1 and 3: nothing is shared, and a lost partner leaves masks
that nobody can take away. With dropouts it takes all five:

    1 keys     two X25519 keys of this round and a commitment to a seed, signed
    2 shares   key and seed, so that `least` partners together can give either, sealed for each partner
    3 vector   masked by pair and by seed
    4 list     of who is alive and who is dead, signed
    5 opening  for a list that `least` of the living signed: shares of seeds of the living, of keys of the dead

Who opened both seed and key of a partner could read its vector. So a seat signs one list, and opens once; it moves on before it answers,
and whatever it refuses, it never answers again. Two lists cannot both have `least` signatures: 2t > n + colluders.

All that a seat draws follows from one secret of the round, so that a partner that was killed can take the same seat again
(`federated.desk`); the secret is durable before keys leave, and gone when the next round begins.

No I/O: messages in, messages out. Not here: what the coordinator does with them (`federated.opening`), what is summed
(`federated.partner`), who carries messages (`federated.rounds`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from audit.checkpoint import Signer
from federated import shamir
from federated.masking import (
    KEY_BYTES,
    ChannelError,
    End,
    Ring,
    Round,
    Stream,
    agree,
    chacha20,
    commitment,
    drawn_from,
    mask_key,
    masked,
    opened,
    own_key,
    sealed,
)
from federated.messages import Keys, Opening, Survivors, Terms
from federated.replies import Code, RefusedError


class Memory(Protocol):
    """What a partner must not forget between rounds; durable before it sends keys."""

    @property
    def last(self) -> int:
        """Number of the latest round that it sat in, or 0."""
        ...

    def begin(self, round: Round, secret: bytes) -> None:
        """Durable on return, the number for ever, the secret until the next round. Raises RefusedError (`REPLAYED`) for a round that was
        there before, or came before one that was."""
        ...

    def secret(self, round: Round) -> bytes:
        """That of the latest round, for the same question. Raises RefusedError (`ORDER`) for any other."""
        ...

    def meet(self, round: Round, keys: Sequence[bytes]) -> None:
        """Durable on return. Raises RefusedError (`REPLAYED`) for a key that was in a round before, or is twice in this one. All that were
        met in this round, and no others, may be met in it again: its seat was taken again."""
        ...


@dataclass
class ShortMemory:
    """What is forgotten with the process: for tests and benchmarks."""

    last: int = 0
    keys: set[bytes] = field(default_factory=set)
    latest: tuple[Round, bytes] | None = None
    met: frozenset[bytes] = frozenset()

    def begin(self, round: Round, secret: bytes) -> None:
        """See `Memory.begin`."""
        if round.number <= self.last:
            raise RefusedError(Code.REPLAYED)
        self.last, self.latest, self.met = round.number, (round, secret), frozenset()

    def secret(self, round: Round) -> bytes:
        """See `Memory.secret`."""
        if self.latest is None or self.latest[0] != round:
            raise RefusedError(Code.ORDER)
        return self.latest[1]

    def meet(self, round: Round, keys: Sequence[bytes]) -> None:
        """See `Memory.meet`."""
        met = frozenset(keys)
        if round.number == self.last and met == self.met:
            return
        if len(met) != len(keys) or self.keys & met:
            raise RefusedError(Code.REPLAYED)
        self.keys |= met
        self.met = met


class Seat:
    """One partner in one round. Every method is called once, in order; RefusedError ends the round for this partner.

    `secret`: `KEY_BYTES` that nobody else knows, of this round alone; None to take a seat again, with the secret that `memory` has.
    """

    def __init__(self, terms: Terms, round: Round, signer: Signer, memory: Memory, secret: bytes | None, stream: Stream = chacha20) -> None:
        if secret is None:
            secret = memory.secret(round)
        else:
            memory.begin(round, secret)
        terms.place(signer.origin)
        self._terms, self._round, self._signer, self._memory = terms, round, signer, memory
        self._randomness, self._stream = drawn_from(secret), stream
        self._next: str | None = "keys"
        self._channel, self._mask = (X25519PrivateKey.from_private_bytes(self._randomness(KEY_BYTES)) for _ in range(2))
        self._seed = self._randomness(KEY_BYTES)
        self._roster: dict[str, Keys] = {}
        self._channels: dict[str, bytes] = {}
        self._held: dict[str, tuple[bytes, bytes]] = {}  # of each partner: its share of mask key, of seed
        self._survivors = Survivors((), ())

    @property
    def name(self) -> str:
        """Whose seat it is."""
        return self._signer.origin

    def keys(self) -> Keys:
        """Step 1: this partner's keys, signed for this round of this contract and this question."""
        self._step("keys", "shares" if self._terms.dropouts else "receive")
        channel, mask = (secret.public_key().public_bytes_raw() for secret in (self._channel, self._mask))
        unsigned = Keys(self.name, channel, mask, commitment(self._round, self.name, self._seed), b"")
        self._own = replace(unsigned, signature=self._signer.key.sign(unsigned.statement(self._round)))
        return self._own

    def shares(self, roster: Sequence[Keys]) -> dict[str, bytes]:
        """Step 2: (1) meet the others, (2) split key and seed, (3) seal a share of both for each of them."""
        self._step("shares", "receive")
        self._meet(roster)
        places = {name: self._terms.place(name) for name in self._roster}
        of_mask, of_seed = (
            shamir.split(secret, self._terms.least, places.values(), self._randomness)
            for secret in (self._mask.private_bytes_raw(), self._seed)
        )
        both = {name: of_mask[place] + of_seed[place] for name, place in places.items()}
        self._hold(self.name, both[self.name])
        self._channels = {name: self._agree(self._channel, self._ends(name, "channel")[1]) for name in self._others()}
        return {name: sealed(self._round, shared, *self._ends(name, "channel"), both[name]) for name, shared in self._channels.items()}

    def receive(self, received: Sequence[Keys] | Mapping[str, bytes]) -> None:
        """Step 3 begins: without dropouts with the roster; with them with what the others sealed for this partner, who are then all whose
        masks will be in its vector. Nothing has to be charged or summed before this is accepted."""
        self._step("receive", "vector")
        if isinstance(received, Mapping) != bool(self._terms.dropouts):
            raise self._refused(Code.ROSTER)
        if isinstance(received, Mapping):
            self._open_shares(received)
        else:
            self._meet(received)

    def vector(self, values: NDArray[np.int64], size: int) -> Ring:
        """Step 3: the masked values, which are `size` whole numbers or nothing is masked."""
        self._step("vector", "attest" if self._terms.dropouts else None)
        if values.dtype != np.int64 or values.shape != (size,):
            raise self._refused(Code.SHAPE)
        pairs = [(name, self._pair(name)) for name in self._others()]
        own = own_key(self._round, self.name, self._seed) if self._terms.dropouts else None
        return masked(values, self.name, pairs, own, self._stream)

    def attest(self, survivors: Survivors) -> bytes:
        """Step 4: this partner's signature of who is alive and who is dead, once."""
        self._step("attest", "opening")
        alive, dead = set(survivors.alive), set(survivors.dead)
        once = len(alive) == len(survivors.alive) and len(dead) == len(survivors.dead)
        if alive & dead or not once or alive | dead != self._roster.keys() or self.name not in alive:
            raise self._refused(Code.SURVIVORS)  # who is alive and dead would have both seed and key opened
        if len(alive) < self._terms.least:
            raise self._refused(Code.TOO_FEW)
        self._survivors = survivors
        return self._signer.key.sign(survivors.statement(self._round))

    def opening(self, signatures: Mapping[str, bytes]) -> Opening:
        """Step 5: this partner's shares, where `least` of the living signed the list that it signed; once."""
        self._step("opening", None)
        if len(signatures) < self._terms.least:
            raise self._refused(Code.TOO_FEW)
        if not signatures.keys() <= set(self._survivors.alive):
            raise self._refused(Code.SURVIVORS)
        statement = self._survivors.statement(self._round)
        for name, signature in signatures.items():
            self._verify(name, statement, signature)
        seeds = {name: self._held[name][1] for name in self._survivors.alive}
        return Opening(seeds, {name: self._held[name][0] for name in self._survivors.dead})

    def _meet(self, roster: Sequence[Keys]) -> None:
        """(1) Enough partners of the contract, each once, this one as it is; (2) each signed its keys for this round, so that nobody
        has put others in their place; (3) no key was there before."""
        found = {keys.name: keys for keys in roster}
        if len(found) != len(roster) or not found.keys() <= {verifier.name for verifier in self._terms.partners}:
            raise self._refused(Code.ROSTER)
        if len(found) < self._terms.needed:
            raise self._refused(Code.TOO_FEW)
        if found.get(self.name) != self._own:
            raise self._refused(Code.ROSTER)
        for keys in roster:
            self._verify(keys.name, keys.statement(self._round), keys.signature)
        try:
            self._memory.meet(self._round, [key for keys in roster for key in (keys.channel, keys.mask)])
        except RefusedError as error:
            raise self._refused(error.code) from None
        self._roster = found

    def _open_shares(self, received: Mapping[str, bytes]) -> None:
        """(1) Enough of those who were met, and no others; (2) each sealed its shares for this partner in this round."""
        if not received.keys() <= set(self._others()):
            raise self._refused(Code.ROSTER)
        if len(received) + 1 < self._terms.least:
            raise self._refused(Code.TOO_FEW)
        for name, message in received.items():
            try:
                self._hold(name, opened(self._round, self._channels[name], *self._ends(name, "channel"), message))
            except ChannelError:
                raise self._refused(Code.SHARES) from None
        self._roster = {name: keys for name, keys in self._roster.items() if name in self._held}

    def _hold(self, name: str, both: bytes) -> None:
        if len(both) != 2 * shamir.SHARE_BYTES:
            raise self._refused(Code.SHARES)
        self._held[name] = both[: shamir.SHARE_BYTES], both[shamir.SHARE_BYTES :]

    def _pair(self, name: str) -> bytes:
        mine, theirs = self._ends(name, "mask")
        return mask_key(self._round, self._agree(self._mask, theirs), mine, theirs)

    def _agree(self, secret: X25519PrivateKey, theirs: End) -> bytes:
        try:
            return agree(secret, theirs)
        except ValueError:  # no key, or one of small order
            raise self._refused(Code.ROSTER) from None

    def _ends(self, name: str, use: str) -> tuple[End, End]:
        """This partner's end of a pair and the other's."""
        mine, theirs = End(self.name, getattr(self._own, use)), End(name, getattr(self._roster[name], use))
        return mine, theirs

    def _others(self) -> list[str]:
        return sorted(name for name in self._roster if name != self.name)

    def _verify(self, name: str, statement: bytes, signature: bytes) -> None:
        try:
            self._terms.verify(name, statement, signature)
        except RefusedError as error:
            raise self._refused(error.code) from None

    def _step(self, step: str, then: str | None) -> None:
        """Moves on before anything is answered, so that nothing is answered twice."""
        if self._next != step:
            raise self._refused(Code.ORDER)
        self._next = then

    def _refused(self, code: Code) -> RefusedError:
        """Ends the round for this partner."""
        self._next = None
        return RefusedError(code)
