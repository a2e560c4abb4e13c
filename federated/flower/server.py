"""The process of a SuperLink: `flower-superlink` as it is, whose Control API asks for the coordinator's secret.

On one port a SuperLink serves agents (Fleet API, each request signed by a registered node), whoever holds a run (Runtime API, by a token),
and its operator (Control API). Stock Flower lets everybody who reaches the port operate it: register nodes, start runs, stop those of
others, have it fetch apps from a hub. Here the operator shows a secret, and that is all that this process changes; runs are acquired with
the same secret (Flower's own `--superexec-auth-secret-file`), and nothing executes an app, because isolation is `process` and there is no
executor. Started by `federated.flower.superlink`, as `python -m federated.flower.server FILE ARGUMENTS…`.
"""

from __future__ import annotations

import hmac
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from federated.flower.pinned import require

if TYPE_CHECKING:
    from flwr.superlink.auth_plugin import ControlAuthnPlugin

ISOLATED = ("--isolation", "process", "--enable-supernode-auth", "--disable-runtime-dependency-installation")


def word(secret: bytes) -> str:
    """What the coordinator shows to operate a SuperLink: derived, so that the secret itself is on no wire."""
    return hmac.digest(secret, b"consentric superlink control", "sha256").hex()


def plugin(secret: bytes) -> ControlAuthnPlugin:
    """Accepts whoever shows the word, as Flower's one account; refuses everybody else."""
    from flwr.supercore.auth.typing import AccountInfo
    from flwr.superlink.auth_plugin import NoOpControlAuthnPlugin

    class Operator(NoOpControlAuthnPlugin):
        def validate_tokens_in_metadata(self, metadata: Sequence[tuple[str, str | bytes]]) -> tuple[bool, AccountInfo | None]:
            shown = [value if isinstance(value, bytes) else value.encode() for _, value in metadata]
            if len(shown) != 1 or not hmac.compare_digest(shown[0], word(secret).encode()):
                return False, None
            return super().validate_tokens_in_metadata(metadata)

    return Operator()


def main() -> NoReturn:
    """Serves until it is ended, or whoever started it is gone."""
    require()
    from flwr.supercore.app_utils import start_parent_process_monitor

    start_parent_process_monitor(os.getppid())
    secret, stock = Path(sys.argv[1]), import_module("flwr.superlink.cli.flower_superlink")
    setattr(stock, "load_control_authn_plugin", lambda: plugin(secret.read_bytes()))  # noqa: B010 (mypy knows no such name to set)
    sys.argv = ["flower-superlink", *ISOLATED, "--superexec-auth-secret-file", str(secret), *sys.argv[2:]]
    stock.flower_superlink()
    raise SystemExit


if __name__ == "__main__":
    main()
