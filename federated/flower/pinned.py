"""The one version of Flower that is spoken here, and Flower kept quiet.

Its protocol is not promised to stay the same between versions, so any other version is refused before a byte is sent;
`tests/end_to_end/test_flower_protocol.py` holds the agent to what the stock SuperNode of the installed version says.
"""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version

FLOWER = "1.41.0"
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",  # on by default
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}
"""What Flower reads from the environment, some of it as it is imported."""


class TransportError(Exception):
    """Messages cannot be carried; says why, and the way out."""


def require() -> None:
    """Call it before anything of `flwr` is imported. Raises TransportError unless it is the version that is spoken here."""
    os.environ.update(QUIET)
    try:
        found = version("flwr")
    except PackageNotFoundError:
        raise TransportError(
            "Flower is not installed, and carries messages between partners; pip install 'consentric[federated]'"
        ) from None
    if found != FLOWER:
        raise TransportError(f"expected Flower {FLOWER}, got `{found}`, whose protocol may be another; pip install flwr=={FLOWER}")
