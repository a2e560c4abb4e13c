"""The packs that come with Consentric, and the test document of each: files of this package, as bytes."""

from __future__ import annotations

from importlib.resources import files

_FOLDER = files("policies") / "packs"
_TEST = ".test.yaml"


def names() -> tuple[str, ...]:
    """Names of the packs."""
    found = (entry.name for entry in _FOLDER.iterdir())
    return tuple(sorted(name.removesuffix(_TEST) for name in found if name.endswith(_TEST)))


def pack_source(name: str) -> tuple[bytes, str]:
    """The document of a pack that exists, and its name in messages."""
    return (_FOLDER / f"{name}.yaml").read_bytes(), f"{name}.yaml"


def test_source(name: str) -> tuple[bytes, str]:
    """The test document of a pack that exists, and its name in messages."""
    return (_FOLDER / f"{name}{_TEST}").read_bytes(), f"{name}{_TEST}"
