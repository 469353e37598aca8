"""Every installation, anywhere, gets the versions that were tested."""

import re
import tomllib
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.house.tree import ROOT, agent_deps, files, shown, workspace

LISTS = ("build", "dev", "agent", "server", "dashboard")
REQUIREMENT = re.compile(r"^([a-z0-9-]+)==(\S+?)(?: ; .+?)? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")


def _listed(name: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in (ROOT / "requirements" / f"{name}.txt").read_text().splitlines():
        if match := REQUIREMENT.match(line):
            found.setdefault(match[1], set()).add(match[2])
    return found


def _constraints() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for text in workspace()["tool"]["uv"]["constraint-dependencies"]:
        requirement = Requirement(text)
        (specifier,) = requirement.specifier
        assert specifier.operator == "=="
        found.setdefault(canonicalize_name(requirement.name), set()).add(specifier.version)
    return found


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_requirements_holds_versions_and_hashes_only(name: str) -> None:
    """No place to fetch from and no path of a machine: that is for whoever installs."""
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    assert lines
    assert [line for line in lines if not REQUIREMENT.match(line) and not HASH.match(line)] == []


@pytest.mark.parametrize("name", LISTS)
def test_the_images_get_what_was_tested(name: str) -> None:
    """The hashed lists and the constraints that `uv sync` obeys say the same."""
    constraints = _constraints()
    listed = _listed(name)
    assert {one: constraints.get(one) for one in listed} == listed


def test_every_distribution_that_is_installed_here_is_pinned() -> None:
    """What the tests run with is what the constraints say, to the last transitive one."""
    constraints = _constraints()
    installed = {
        canonicalize_name(one.metadata["Name"]): one.version for one in metadata.distributions()
    }
    others = {
        name: version
        for name, version in installed.items()
        if not name.startswith("muster-") and version not in constraints.get(name, ())
    }
    assert others == {}


def test_the_build_is_pinned() -> None:
    """What makes the wheels is as fixed as what is in them."""
    tool = workspace()["tool"]["uv"]
    assert {Requirement(text).name for text in tool["build-constraint-dependencies"]} >= {
        "hatchling"
    }
    for text in tool["build-constraint-dependencies"]:
        assert [s.operator for s in Requirement(text).specifier] == ["=="]


def _closure(distribution: str, extras: frozenset[str] = frozenset()) -> set[str]:
    """Return what an installation of *distribution* brings with it on this platform."""
    found = {distribution}
    for text in metadata.requires(distribution) or ():
        requirement = Requirement(text)
        wanted = [
            not requirement.marker or requirement.marker.evaluate({"extra": extra})
            for extra in (extras or {""})
        ]
        name = canonicalize_name(requirement.name)
        if any(wanted) and name not in found:
            found |= _closure(name, frozenset(requirement.extras))
    return found


def test_the_agent_installs_what_its_list_says() -> None:
    """Every host pays for each line of agent/deps.txt: it grows only in a change that says so."""
    assert agent_deps() == sorted(_closure("muster-agent") - {"muster-agent"})


def _hosts() -> set[str]:
    """Return the hosts that the lock file fetches from, which is itself not kept in git."""
    lock = ROOT / "uv.lock"
    packages_of = tomllib.loads(lock.read_text())["package"] if lock.is_file() else []
    urls = [one["source"].get("registry", "") for one in packages_of]
    urls += [wheel.get("url", "") for one in packages_of for wheel in one.get("wheels", ())]
    return {host for url in urls if (host := urlsplit(url).hostname)}


def _texts() -> list[tuple[Path, str]]:
    found = []
    for path in files():
        try:
            found.append((path, path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return found


def test_no_file_names_where_packages_come_from() -> None:
    """Where to fetch from is a matter of the machine, not of the repository."""
    hosts = _hosts()
    named = [shown(path) for path, text in _texts() if any(host in text for host in hosts)]
    assert named == []


def test_no_file_names_a_path_of_this_machine() -> None:
    """What works only here does not work."""
    places = [place for place in (ROOT, Path.home()) if len(place.parts) > 2]
    named = [
        f"{shown(path)}: {place}"
        for path, text in _texts()
        for place in places
        if re.search(rf"(?<![\w.-]){re.escape(str(place))}(?![\w-])", text)
    ]
    assert named == []
