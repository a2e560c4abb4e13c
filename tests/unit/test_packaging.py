"""What is shipped: five packages, with what they need beside their code, and names that nobody else owns."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"engine", "governance", "federated", "policies", "audit"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def normal(requirement: str) -> str:
    """The normal form of the name in a requirement (PEP 503)."""
    match = NAME.match(requirement)
    assert match, requirement
    return re.sub(r"[-_.]+", "-", match[0]).lower()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    code = f"from hatchling.build import build_wheel; build_wheel({str(folder)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_the_wheel_holds_the_five_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert tops == PACKAGES | {f"consentric-{PROJECT['version']}.dist-info"}


def test_the_wheel_holds_every_file_of_the_packages(wheel: zipfile.ZipFile) -> None:
    held = {name for name in wheel.namelist() if name.partition("/")[0] in PACKAGES}
    there = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == there
    assert {f"{package}/{file}" for package in PACKAGES for file in ("py.typed", "README.md", "__init__.py")} <= held
    assert "governance/GUARANTEES.md" in held


def test_the_command(wheel: zipfile.ZipFile) -> None:
    info = f"consentric-{PROJECT['version']}.dist-info"
    assert "consentric = engine.cli:main" in wheel.read(f"{info}/entry_points.txt").decode()
    assert "Apache License" in wheel.read(f"{info}/licenses/LICENSE").decode()


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_no_other_distribution_owns_our_names(package: str) -> None:
    """A second owner would overwrite our files; `tests` is not among the names, as diffprivlib installs one."""
    owners = set(importlib.metadata.packages_distributions().get(package, []))
    assert owners <= {"consentric"}


def test_constraints_pin_every_direct_dependency_exactly() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9.-]+==[^ ;=]+( ; .+)?", pin) for pin in pins)
    direct = {normal(entry) for group in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()) for entry in group}
    assert direct - {"consentric"} <= {normal(pin) for pin in pins}


def test_what_is_installed_and_pinned_agrees_on_dependencies_of_dependencies() -> None:
    """Every package that an installed, pinned package needs here is pinned too."""
    pins = {normal(line) for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if NAME.match(line)}
    seen, queue = set(), [normal(entry) for entry in PROJECT["dependencies"]]
    while queue:
        name = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        needed = importlib.metadata.requires(name) or []
        queue += [normal(entry) for entry in needed if ";" not in entry]
    assert seen <= pins
    assert len(seen) > len(PROJECT["dependencies"])


def test_importing_the_store_does_not_load_the_data_engine() -> None:
    code = "import sys, governance.store; print([m for m in ('duckdb', 'pyarrow', 'opendp', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
