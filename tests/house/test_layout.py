"""Whoever has read one package finds everything in the next."""

import pytest

from tests.house.tree import ROOT, SERVICES, Package, files, imports, package, packages, shown

SECTIONS = ("Answers", "Tells", "Stores", "Needs")
SAYS_NOTHING = {"utils", "util", "helpers", "helper", "manager", "misc", "common"}


def test_the_workspace_has_the_packages_that_it_says() -> None:
    """A folder that uv does not see would be neither installed nor checked."""
    rooms = {"agent", "cli", "contracts", "dashboard", "kit", *SERVICES}
    assert {one.name for one in packages()} == rooms
    assert {one.project["name"] for one in packages()} == {f"muster-{room}" for room in rooms}


def test_the_namespace_stays_open() -> None:
    """One ``__init__.py`` directly in ``src/muster`` hides every other package."""
    assert [shown(path) for path in files("__init__.py") if path.parent.name == "muster"] == []


@pytest.mark.parametrize("one", packages(), ids=lambda one: one.name)
def test_every_package_is_typed(one: Package) -> None:
    """Without ``py.typed`` a type checker takes everything from the package for Any."""
    assert (one.code / "py.typed").is_file()


@pytest.mark.parametrize("one", packages(), ids=lambda one: one.name)
def test_every_package_says_what_it_is(one: Package) -> None:
    """The licence, the description and the Python version are in every distribution."""
    assert one.project["license"] == "Apache-2.0"
    assert one.project["requires-python"] == ">=3.11"
    assert one.project["description"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_its_shape(name: str) -> None:
    """A root, one class of answers, settings: where they are is not a question."""
    code = package(name).code
    needed = ["__main__.py", "settings.py"]
    if name != "gateway":
        needed += ["service.py", "store.py", "tables.py", "migrations"]
    assert [part for part in needed if not (code / part).exists()] == []


@pytest.mark.parametrize("name", SERVICES)
def test_a_composition_root_is_short(name: str) -> None:
    """A root that does not fit on a screen decides something that belongs elsewhere."""
    length = (package(name).code / "__main__.py").read_text().count("\n")
    assert length <= 40


@pytest.mark.parametrize("name", SERVICES)
def test_the_readme_of_a_service_says_what_it_does_and_needs(name: str) -> None:
    """What it answers, tells, stores and needs is found without reading its code."""
    readme = package(name).folder / "README.md"
    headings = [line.strip("# ") for line in readme.read_text().splitlines() if line[:1] == "#"]
    assert [section for section in SECTIONS if section not in headings] == []


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_an_entry_point(name: str) -> None:
    """``muster up`` finds what it runs; it does not import it."""
    points = package(name).project["entry-points"]["muster.services"]
    assert points == {name: f"muster.{name}.__main__:serve"}


def test_a_module_is_named_by_what_it_decides() -> None:
    """A module of leftovers has no reader."""
    code = [path for path in files(".py") if path.is_relative_to(ROOT) and "src" in path.parts]
    assert [shown(path) for path in code if path.stem in SAYS_NOTHING] == []


def test_a_migration_stands_alone() -> None:
    """Imported code changes; what a migration did once must stay as it was."""
    versions = [p for p in files(".py") if p.parent.name == "versions" and "src" in p.parts]
    assert versions
    assert [shown(p) for p in versions if any(n.startswith("muster.") for n in imports(p))] == []
