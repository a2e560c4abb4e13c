"""Calls to a SuperLink: over TLS under one CA, tried again where the network or the SuperLink fails, a limited number of times, and told.

Flower's own retries go on for ever, end the process where a SuperLink says 401, and leave the calling thread no say. Here a call is tried
`Patience.tries` times, waits grow to `Patience.longest`, and a stop event ends a wait at once. What a SuperLink decides (a key that it does
not know, a run that has ended) is never tried again; neither is a server that cannot show a certificate of the CA.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from federated.flower.pinned import FLOWER, TransportError

if TYPE_CHECKING:
    import httpx
    from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext

Result = TypeVar("Result")
Fault = TypeVar("Fault", bound=BaseException)
Tell = Callable[[str], None]
"""What an operator reads: a sentence about the connection, never about a message."""

PACKAGE_NAME, PACKAGE_VERSION, COMPONENT = "flwr-package-name", "flwr-package-version", "flwr-component-name"
PUBLIC_KEY, TIMESTAMP, SIGNATURE = "flwr-public-key", "flwr-timestamp", "flwr-signature"
"""Headers of Flower's (`tests/end_to_end/test_flower_protocol.py` compares them with those of a stock node)."""
FAILING = frozenset({500, 502, 503, 504})
"""Said by a SuperLink that is going down, or whose database is busy."""
UNAUTHORISED = 401
_OTHER_NAME = frozenset({62, 64})
"""OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""


class RejectedError(Exception):
    """The SuperLink said no to one call: a run that has ended, an object that is gone."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the SuperLink said {status}")
        self.status = status


class UnknownError(TransportError):
    """The SuperLink does not know who calls: it never did, or it was started anew and has forgotten."""


class StoppedError(Exception):
    """Somebody ended the wait."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a call is tried, and for how long to wait in between: seconds, doubled each time up to `longest`."""

    tries: int = 60
    first: float = 0.1
    longest: float = 5.0

    def delay(self, number: int) -> float:
        """After failure `number`, counted from 1."""
        return min(self.longest, self.first * 2.0 ** min(number - 1, 30))


@dataclass(slots=True)
class Caller:
    """Makes calls, patiently. `stop` ends it; `unknown` says what to do where a SuperLink does not know who calls; `failures` counts calls
    that were made in vain: what a SuperLink was told or gave away then may be lost."""

    address: str
    patience: Patience
    stop: threading.Event
    tell: Tell
    unknown: str
    failures: int = 0

    def __call__(self, call: Callable[[], Result]) -> Result:
        """Raises RejectedError, UnknownError, StoppedError, and TransportError: tries used up, or another CA."""
        import httpx

        for number in range(1, self.patience.tries + 1):
            if self.stop.is_set():
                raise StoppedError
            try:
                return call()
            except httpx.HTTPStatusError as said:
                status = said.response.status_code
                if status == UNAUTHORISED:
                    raise UnknownError(f"the SuperLink at `{self.address}` does not know {self.unknown}") from None
                if status not in FAILING:
                    raise RejectedError(status) from None
                why = f"said {status}"
            except httpx.TransportError as fault:
                if (forged := _cause(fault, ssl.SSLCertVerificationError)) is not None:
                    raise TransportError(_untrusted(self.address, forged)) from None
                why = _unanswered(fault)
            self.failures += 1
            if number < self.patience.tries:
                if number in {1, 10} or number % 20 == 0:
                    self.tell(f"the SuperLink at {self.address} {why}, try {number} of {self.patience.tries}")
                self.stop.wait(self.patience.delay(number))
        raise TransportError(
            f"the SuperLink at `{self.address}` failed {self.patience.tries} times in a row: it {why}; see that the address is right and "
            "that the link is served there, and begin again"
        )


@dataclass(frozen=True, slots=True)
class Headers:
    """Shown with every call."""

    shown: Mapping[str, str]

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        """See `flwr.supercore.protobuf.client.ProtobufClientInterceptor`."""
        context.request.headers.update(self.shown)
        return call_next(context)


def versions(component: str) -> dict[str, str]:
    """By which Flower's programs tell each other their version. Its own interceptor ends the process where versions differ."""
    return {PACKAGE_NAME: "flwr", PACKAGE_VERSION: FLOWER, COMPONENT: component}


def _untrusted(address: str, fault: ssl.SSLCertVerificationError) -> str:
    if fault.verify_code in _OTHER_NAME:
        return (
            f"what answers at `{address}` shows no certificate of this CA for that name; reach it by a name that its certificate has, or "
            "have whoever serves the link give this one with `--known-as`"
        )
    return (
        f"what answers at `{address}` shows no certificate of this CA; take the CA's file anew from whoever serves the link "
        "(`collaborations/NAME.ca.pem` there), and see that the address is that of this collaboration's link"
    )


def _unanswered(fault: httpx.TransportError) -> str:
    if _cause(fault, socket.gaierror) is not None:
        return "cannot be found: the network knows no such name"
    if _cause(fault, ConnectionRefusedError) is not None:
        return "is not there: nobody listens at that address"
    return f"did not answer ({type(fault).__name__})"


def _cause(fault: BaseException | None, kind: type[Fault]) -> Fault | None:
    while fault is not None:
        if isinstance(fault, kind):
            return fault
        fault = fault.__cause__ or fault.__context__
    return None
