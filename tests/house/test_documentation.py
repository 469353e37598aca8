"""What can be set, asked or refused is written down; what is written down is true."""

import re
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

from docs.generate import pages, sections
from muster.contracts.errors import BY_CODE
from muster.kit.settings import variable
from tests.house.tree import ROOT, files, packages, shown, workspace

SECTIONS = sections()


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_is_explained(section: str) -> None:
    """Each has a help text, and stands in the reference with the variable that sets it."""
    text = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    for name, info in SECTIONS[section].model_fields.items():
        assert info.description, name
        shared = variable("<service>", name)
        assert any(f"| `{v}` |" in text for v in (variable(section, name), shared)), name


def test_every_module_of_settings_is_a_section() -> None:
    """A class of settings that the reference does not find would be explained nowhere."""
    declaring = {path.parent.name for path in files("settings.py") if "src" in path.parts}
    assert declaring - {"kit"} == set(SECTIONS)


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_the_reference_is_fresh(path: Path) -> None:
    """It says what the contracts say now; if not: uv run python docs/generate.py."""
    assert path.read_text(encoding="utf-8") == pages()[path]


@pytest.mark.parametrize("code", BY_CODE)
def test_every_error_code_is_in_the_reference(code: str) -> None:
    """Whoever meets a code finds what it means."""
    assert f"| `{code}` |" in (ROOT / "docs" / "reference" / "contracts.md").read_text()


def _name_of(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    return found[0].lower() if found else requirement


def _needed() -> dict[str, set[str]]:
    """Return who needs each third-party distribution directly."""
    needed = defaultdict(set)
    for one in packages():
        extras = one.project.get("optional-dependencies", {}).values()
        for requirement in [*one.project["dependencies"], *(r for extra in extras for r in extra)]:
            needed[_name_of(requirement)].add(one.name)
    for requirement in workspace()["project"]["dependencies"]:
        needed[_name_of(requirement)].add("workspace")
    groups = workspace()["dependency-groups"].values()
    for requirement in (r for group in groups for r in group if isinstance(r, str)):
        needed[_name_of(requirement)].add("development")
    return {name: who for name, who in needed.items() if not name.startswith("muster-")}


def _explained() -> dict[str, set[str]]:
    rows = re.findall(
        r"^\| `([^`]+)` \| ([^|]+) \| [^|]{10,} \|$",
        (ROOT / "docs" / "dependencies.md").read_text(),
        re.MULTILINE,
    )
    return {name: set(who.strip().split(", ")) for name, who in rows}


def test_every_dependency_has_a_reason() -> None:
    """Code of others is taken in knowingly: docs/dependencies.md says who needs it, and why."""
    assert _explained() == _needed()


def test_the_readme_of_a_distribution_is_its_own() -> None:
    """Links between the pages lead somewhere."""
    broken = [
        f"{shown(page)}: {target}"
        for page in files(".md")
        for target in re.findall(r"\]\(([^)#\s:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_the_changelog_tells_of_this_version() -> None:
    """What is being built is under Unreleased; what is released has a date."""
    text = (ROOT / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in text
    version = workspace()["project"]["version"]
    assert {
        tomllib.loads(p.read_text())["project"]["version"] for p in files("pyproject.toml")
    } == {version}
