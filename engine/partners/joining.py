"""Joining a collaboration: the signed contract is the expected one, and the segment at home is what it says.

No row is read. What a contract and a segment say differently is told all at once, each with its line and what the contract expects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from audit.merkle import IntegrityError
from engine.partners import identity
from engine.partners.groups import unlike
from engine.parts import unit_of
from engine.planning import prepare
from engine.prepared import Prepared
from engine.scale import UNIT
from engine.workspace import Workspace, WorkspaceError
from federated.contract import Agreed, Collaboration, Condition, ContractError, Measured, agreed, contents
from federated.partner import today
from governance import documents, partnerships
from governance.documents import Kind
from governance.partnerships import Partnership
from policies.contract import Table
from policies.documents import Digest
from policies.parsing import DocumentError, Problem
from policies.segment import Segment

Path = tuple[str | int, ...]


class DifferentError(WorkspaceError):
    """A contract or a segment that cannot be joined."""


def join(workspace: Workspace, envelope: bytes, digest: Digest, segment: str) -> Partnership:
    """Take part in what `envelope` holds with `segments/SEGMENT.yaml`.

    Raises IntegrityError for another contract than the expected one; DocumentError with every difference; DifferentError for a contract
    that not all signed, that does not name this partner, has expired, has another grid, or was joined; Refused as planning does.
    """
    try:
        if (got := contents(envelope).digest()) != digest:
            raise IntegrityError(
                f"another contract: got `{got}`, expected `{digest}`; ask for the envelope of the contract that you signed, and compare "
                "what you wrote down with the others"
            )
        contract = agreed(envelope, digest)
    except ContractError as error:
        raise DifferentError(f"{error}; ask for the envelope with every signature") from None
    named(workspace, contract)
    if today() > contract.contract.expires:
        raise DifferentError(f"contract `{contract.contract.name}` expired on {contract.contract.expires}; sign another one")
    if (grid := contract.contract.grid.feature) != UNIT:
        raise DifferentError(f"the contract: `grid.feature` is `{grid}`, expected `{UNIT}`, as in this release; sign another one")
    prepared = fitting(workspace, contract, segment)
    with workspace.store.transaction("join") as write:
        found = partnerships.find(write.session, contract.contract.name)
        if found is not None:
            raise DifferentError(_taken(found, digest))
        documents.keep(write, Kind.SPEC, prepared.spec)
        return partnerships.join(write, digest, contract.contract.name, segment, prepared.spec.digest(), envelope)


def _taken(found: Partnership, digest: Digest) -> str:
    if found.contract == digest:
        return f"this contract was joined already, with segment `{found.segment}`; consentric partner run {found.name} takes part"
    return f"another contract named `{found.name}` was joined already, `{found.contract}`; a changed contract is a new one: name it anew"


def digest_of(text: str) -> Digest:
    """Raises WorkspaceError for what is none."""
    if not re.fullmatch("sha256:[0-9a-f]{64}", text):
        raise WorkspaceError(f"`--digest`: got `{text}`, expected sha256: and 64 hexadecimal digits, as you wrote it down when you signed")
    return Digest(text)


def named(workspace: Workspace, contract: Agreed) -> None:
    """Raises DifferentError unless the contract names this partner's key."""
    mine = identity.keys(workspace).verifier
    if str(mine) not in contract.contract.partners:
        others = ", ".join(f"`{each.name}`" for each in contract.contract.identities)
        raise DifferentError(f"the contract does not name this partner: got {others}, expected `{mine}` among them")


def fitting(workspace: Workspace, contract: Agreed, segment: str) -> Prepared:
    """The decided documents of a segment that is what the contract says. Raises DocumentError, and what `prepare` raises.

    Its features come in the order of the contract, which a signed one has by name: everybody's vectors have the same places.
    """
    spec = workspace.segment(segment)
    problems: list[Problem] = []
    data = workspace.contract(spec.dataset)
    for folder, name, path, got, expected in unlike(contract.contract, spec, data, workspace.policy(spec.policy)):
        problems += workspace.complaint(folder, name, path, got, f"{expected}, as `{contract.contract.name}` says").problems
    for path, got, expected in differences(contract.contract, spec, data.tables):
        problems += workspace.complaint("segments", segment, path, got, f"{expected}, as `{contract.contract.name}` says").problems
    most, here = contract.contract.max_subjects, data.subject.max_subjects
    if here > most:
        path, fits = ("subject", "max_subjects"), f"at most {most}, or the sum of all partners may not fit"
        problems += workspace.complaint("contracts", spec.dataset, path, f"`{here}`", fits).problems
    if problems:
        raise DocumentError(tuple(problems))
    return ordered(prepare(workspace, segment), contract)


def ordered(prepared: Prepared, contract: Agreed) -> Prepared:
    """With features in the order of the contract; the digest of a spec knows no order."""
    features = {name: prepared.spec.features[name] for name in contract.contract.features}
    return replace(prepared, spec=prepared.spec.model_copy(update={"features": features}))


def differences(contract: Collaboration, spec: Segment, tables: Mapping[str, Table]) -> Iterator[tuple[Path, str, str]]:
    """Where a segment over `tables` is not what the contract says: the place, what is there, and what the contract expects."""
    if spec.purpose != contract.purpose:
        yield ("purpose",), f"`{spec.purpose}`", f"`{contract.purpose}`"
    if spec.model != contract.model:
        yield ("model",), _plain(spec.model), _plain(contract.model)
    for name in contract.features.keys() - spec.features.keys():
        yield ("features",), "nothing", f"a feature `{name}`: {contract.features[name].meaning}"
    for name in spec.features.keys() - contract.features.keys():
        yield ("features", name), f"`{name}`", "no such feature"
    for name, agreed_ in contract.features.items():
        if name in spec.features:
            feature = spec.features[name]
            unit = unit_of(tables[feature.table], feature.agg) if feature.table in tables else None
            yield from _measured(("features", name), feature.bounds, feature.scale, unit, agreed_)
    yield from _label(contract, spec, tables)
    if not spec.private:
        yield ("privacy",), "`none`", f"`epsilon: {contract.privacy.epsilon:g}`"
        return
    for name in ("epsilon", "delta"):
        got, wanted = getattr(spec.asked, name), getattr(contract.privacy, name)
        if got != wanted:
            yield ("privacy", name), f"`{got:g}`", f"`{wanted:g}`"


def _label(contract: Collaboration, spec: Segment, tables: Mapping[str, Table]) -> Iterator[tuple[Path, str, str]]:
    match contract.label:
        case None:
            return  # the models that need none are told apart by their type
        case Condition() if spec.label is not None and spec.label.bounds is not None:
            yield ("label", "bounds"), _bounds(spec.label.bounds), "a condition, without `bounds`"
        case Measured() as wanted if spec.label is not None:
            unit = unit_of(tables[spec.label.table], spec.label.agg) if spec.label.table in tables else None
            yield from _measured(("label",), spec.label.bounds, spec.label.scale, unit, wanted)


def _measured(path: Path, bounds: Any, scale: str, unit: str | None, wanted: Measured) -> Iterator[tuple[Path, str, str]]:
    """`unit`: of the column at home, None where the data set's contract names none; then the meaning in words is all that there is."""
    if bounds != wanted.bounds:
        yield (*path, "bounds"), _bounds(bounds), _bounds(wanted.bounds)
    if scale != wanted.scale:
        yield (*path, "scale"), f"`{scale}`", f"`{wanted.scale}`"
    if unit and wanted.unit and unit != wanted.unit:
        yield (*path, "agg"), f"a number in `{unit}`", f"one in `{wanted.unit}`"


def _bounds(bounds: Any) -> str:
    return f"`[{bounds[0]}, {bounds[1]}]`" if isinstance(bounds, tuple) else f"`{bounds or 'none'}`"


def _plain(model: Any) -> str:
    given = model.model_dump(mode="json", exclude_defaults=True)
    return "`" + ", ".join(f"{name}: {value}" for name, value in {"type": model.type, **given}.items()) + "`"
