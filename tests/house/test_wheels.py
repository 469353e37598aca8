"""What is shipped can be built, and installs alone."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.house.tree import ROOT, agent_deps, package, packages

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("wheels")]


def _uv(*arguments: object) -> str:
    uv = os.environ.get("UV") or shutil.which("uv")
    if not uv:
        pytest.fail("uv is needed to build: pip install uv")
    done = subprocess.run(
        [uv, *map(str, arguments)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build every distribution of the workspace."""
    folder = tmp_path_factory.mktemp("wheels")
    _uv("build", "--all-packages", "--wheel", "--quiet", "--out-dir", folder)
    return folder


def _wheel(wheels: Path, name: str) -> Path:
    (path,) = wheels.glob(f"muster_{name}-*.whl")
    return path


def test_every_distribution_builds(wheels: Path) -> None:
    """A wheel for each, and no other."""
    built = {path.name.split("-")[0] for path in wheels.glob("*.whl")}
    assert built == {one.project["name"].replace("-", "_") for one in packages()}


@pytest.mark.parametrize("name", [one.name for one in packages()])
def test_a_wheel_holds_its_own_package_and_all_of_it(wheels: Path, name: str) -> None:
    """No module of another package, none left out, and nothing directly in the namespace."""
    with zipfile.ZipFile(_wheel(wheels, name)) as wheel:
        held = {entry for entry in wheel.namelist() if ".dist-info/" not in entry}
    source = package(name).folder / "src"
    code = {path.relative_to(source).as_posix() for path in package(name).modules}
    assert code <= held
    assert {"/".join(entry.split("/")[:2]) for entry in held} == {f"muster/{name}"}


def test_the_agent_runs_from_its_wheel_alone(wheels: Path, tmp_path: Path) -> None:
    """In an empty environment there is only what agent/deps.txt lists, and the agent starts."""
    home = tmp_path / "venv"
    python = home / "bin" / "python"
    _uv("venv", "--quiet", "--python", sys.executable, home)
    pinned = ROOT / "requirements" / "agent.txt"
    _uv("pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", pinned)
    own = [_wheel(wheels, name) for name in ("contracts", "kit", "agent")]
    _uv("pip", "install", "--quiet", "--python", python, "--no-deps", *own)
    _uv("pip", "check", "--quiet", "--python", python)
    listed = json.loads(_uv("pip", "list", "--format=json", "--python", python))
    assert {one["name"] for one in listed} == {*agent_deps(), "muster-agent"}
    for option in ("--version", "--help"):
        done = subprocess.run(
            [home / "bin" / "muster-agent", option],
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout
