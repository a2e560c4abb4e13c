"""Contracts as files: drawn up from YAML, signed by one partner after the other, joined where they signed at once, and verified by anybody.

`collaborations/NAME.yaml` is what somebody wrote, `collaborations/NAME.json` the envelope that goes from hand to hand. Its digest is what
each partner writes down when it signs, and asks for from then on. Not here: what a contract means in words (`engine.collaborations.terms`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audit.checkpoint import Verifier
from audit.merkle import IntegrityError
from engine.files import whole_file
from engine.scale import UNIT
from engine.workspace import Workspace, WorkspaceError, given, now
from federated.contract import Agreed, Collaboration, ContractError, agreed, contents, join, proposed, read_collaboration, sign, signed_by
from governance.partner_keys import PartnerKeys
from policies.documents import Digest
from policies.parsing import DocumentError, parse

FOLDER = "collaborations"
"""Of the workspace."""

ENVELOPE = ".json"
"""How the name of an envelope ends."""

PASSPORT = "passport.json"
"""In a run's folder, once its model is released."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """One that was read. `signed`: partners who did, in the contract's order."""

    path: Path
    raw: bytes
    contract: Collaboration
    digest: Digest
    signed: tuple[Verifier, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of partners who have not signed yet."""
        return tuple(verifier.name for verifier in self.contract.identities if verifier not in self.signed)

    @property
    def agreed(self) -> Agreed:
        """The contract, once everybody signed. Raises ContractError."""
        if self.missing:
            names = ", ".join(f"`{name}`" for name in self.missing)
            raise ContractError(
                f"contract `{self.contract.name}` is not signed by {names}; they sign it (consentric collaboration sign), and consentric "
                "collaboration join puts all signatures into one envelope"
            )
        return agreed(self.raw, self.digest)


def read(path: Path) -> Envelope:
    """Raises ContractError, and WorkspaceError for a file that cannot be read."""
    raw = given(path)
    try:
        contract = contents(raw)
    except ContractError as error:
        raise ContractError(f"`{path}`: {error}") from None
    return Envelope(path, raw, contract, contract.digest(), signed_by(raw, contract))


def located(workspace: Workspace, file: str) -> Path:
    """The envelope that somebody means: a file, or the name of one in the workspace. Raises WorkspaceError."""
    given = Path(file)
    if given.is_file():
        return given
    if "/" not in file and not file.startswith(".") and (there := workspace.root / FOLDER / f"{given.stem}{ENVELOPE}").is_file():
        return there
    found = sorted(path.stem for path in (workspace.root / FOLDER).glob(f"*{ENVELOPE}"))
    raise WorkspaceError(f"no contract `{file}`, expected a file, or one of {found}; `consentric collaboration create` makes one")


def of(workspace: Workspace, name: str) -> Envelope:
    """The contract of a name."""
    return read(located(workspace, name))


def run_folder(workspace: Workspace, digest: Digest) -> Path:
    """Where what is kept of the run under a contract lies."""
    return workspace.hidden / FOLDER / digest.removeprefix("sha256:")[:32]


def create(workspace: Workspace, file: Path) -> Envelope:
    """An envelope of what a YAML file holds, which nobody signed yet. Raises DocumentError, WorkspaceError."""
    data = given(file)
    contract = read_collaboration(data, str(file))
    if contract.grid.feature != UNIT:
        raise DocumentError(
            (parse(data, str(file)).problem(("grid", "feature"), f"`{contract.grid.feature}`", f"`{UNIT}`, as in this release"),)
        )
    if contract.expires < (today := now().date()):
        raise DocumentError((parse(data, str(file)).problem(("expires",), f"`{contract.expires}`", f"`{today}` or later, in UTC"),))
    target = workspace.root / FOLDER / f"{contract.name}{ENVELOPE}"
    if target.exists():
        there = read(target)
        if there.digest != contract.digest():
            who = ", ".join(verifier.name for verifier in there.signed) or "nobody"
            raise WorkspaceError(
                f"`{FOLDER}/{target.name}` holds another contract, {there.digest}, signed by {who}; give this one another `name`, "
                "or move that file away"
            )
        return there
    with workspace.store.transaction("collaboration") as write:
        write.record("collaboration.drawn-up", collaboration=contract.name, contract=contract.digest())
    target.parent.mkdir(exist_ok=True)
    _write(target, proposed(contract))
    return read(target)


def sign_envelope(workspace: Workspace, file: str, to: Path | None = None) -> Envelope:
    """With this workspace's signature, by the key of `partner init`; the log has it first.

    Raises ContractError, KeyFault, WorkspaceError.
    """
    found = read(located(workspace, file))
    keys = PartnerKeys(workspace.keys.folder)
    signer = keys.signer
    if found.contract.expires < now().date():
        raise WorkspaceError(f"contract `{found.contract.name}` expired on {found.contract.expires}; draw up another")
    if (grid := found.contract.grid.feature) != UNIT:
        raise WorkspaceError(
            f"contract `{found.contract.name}`: `grid.feature` is `{grid}`, expected `{UNIT}`, as in this release: nobody could join it; "
            "draw up another"
        )
    signed = join([found.raw, sign(found.contract, signer)])
    with workspace.store.transaction("collaboration") as write:
        write.record("collaboration.signed", collaboration=found.contract.name, contract=found.digest, key=str(signer.verifier))
    target = to or found.path
    _write(target, signed)
    return read(target)


def joined(files: Sequence[Path], to: Path) -> Envelope:
    """One envelope with the signatures of several. Raises ContractError, WorkspaceError."""
    _write(to, join([read(file).raw for file in files]))
    return read(to)


def verify(envelope: Envelope, expected: str | None) -> None:
    """Raises IntegrityError where this is not the contract of a digest that somebody wrote down."""
    if expected is not None and expected.removeprefix("sha256:") != envelope.digest.removeprefix("sha256:"):
        raise IntegrityError(f"another contract: got `{envelope.digest}`, expected `{expected}`")


def _write(target: Path, raw: bytes) -> None:
    with whole_file(target, "collaboration-file") as partial:
        partial.write_bytes(raw)
