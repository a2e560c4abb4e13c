"""What a partner answers when it does not do what it was asked: one of these words, and nothing else.

No word depends on a row, and none says which of its own rules a partner kept: policy, consent, floor and budget are all `refused`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from governance.door import DoorError

LOST = "lost"
"""Of a partner that did not answer."""


class Code(StrEnum):
    """Every reply there is, beside an answer."""

    MESSAGE = "message"  # not a message of this release
    CONTRACT = "contract"  # another contract, or an expired one
    QUESTION = "question"  # not a question of this contract and release
    REPLAYED = "replayed"  # a round, or a key of one, that was there before
    ORDER = "order"  # not what comes next in this round, or asked a second time
    SIGNATURE = "signature"  # not signed by who it names, for this round
    ROSTER = "roster"  # not partners of the contract, each once
    TOO_FEW = "too few"  # fewer partners than the contract needs
    SHARES = "shares"  # not what was sealed for this partner in this round
    SHAPE = "shape"  # not a vector of the size that was asked for
    SURVIVORS = "survivors"  # alive and dead at once, or neither, or not who was there
    REFUSED = "refused"  # by this partner's own rules
    FAULT = "fault"  # of this partner's machine


class RefusedError(Exception):
    """A partner, or the coordinator, goes no further in this round."""

    def __init__(self, code: Code) -> None:
        super().__init__(str(code))
        self.code = code


class LostError(Exception):
    """A partner did not answer."""


class AbortedError(DoorError):
    """A round that gave no sum. What partners charged for it stays charged. `lost`: who was lost, and the word why."""

    def __init__(self, message: str, lost: Mapping[str, str] = MappingProxyType({})) -> None:
        super().__init__(message)
        self.lost = dict(lost)
