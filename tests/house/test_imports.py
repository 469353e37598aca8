"""Who may import what: contracts <- kit <- everything else, and each library in its one place."""

import ast
import configparser
import os
import re
import subprocess
import sysconfig
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.house.tree import ROOT, Package, files, imports, package, packages, parsed, shown

HOMES = {
    "nats": {"kit"},
    "cryptography": {"kit", "agent"},
    "psutil": {"agent"},
    "fastapi": {"gateway"},
    "starlette": {"gateway", "dashboard"},
    "uvicorn": {"gateway", "dashboard"},
    "streamlit": {"dashboard"},
    "pandas": {"dashboard"},
    "click": {"cli", "agent"},
    "rich": {"cli"},
    "argon2": {"authority"},
    "sqlalchemy": {"kit", "authority", "registry", "scheduler"},
    "alembic": {"kit", "authority", "registry", "scheduler"},
}
"""The packages that may import a library; who is not in it goes through a package that is."""

PROVIDERS = metadata.packages_distributions()
UNSEEN = {"httptools", "psycopg", "python-multipart", "websockets", "uvloop"}
"""Needed without an import: drivers and parsers that others load by name."""

WITHIN = {
    "pydantic-core": {"pydantic"},
    "markupsafe": {"jinja2"},
    "starlette": {"fastapi", "streamlit"},
}
"""Distributions that are the inside of others, which are the ones to declare."""


def modules() -> list[tuple[Package, Path]]:
    """Return every module with the package that it belongs to."""
    return [(one, path) for one in packages() for path in one.modules]


def test_the_import_rules_hold() -> None:
    """Contracts import nothing of ours, kit only contracts, and the others never each other."""
    tool = Path(sysconfig.get_path("scripts")) / "lint-imports"
    done = subprocess.run(
        [tool, "--no-logo", "--no-cache", "--config", ROOT / ".importlinter"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
        env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1"},
    )
    assert done.returncode == 0, done.stdout


def test_the_import_rules_are_about_every_package() -> None:
    """A package that is not in the list may import what it likes."""
    rules = configparser.ConfigParser()
    rules.read(ROOT / ".importlinter")
    listed = set(rules["importlinter"]["root_packages"].split())
    assert listed == {f"muster.{one.name}" for one in packages()}
    layers = re.findall(r"muster\.\w+", rules["importlinter:contract:layers"]["layers"])
    assert sorted(layers) == sorted(listed)


@pytest.mark.parametrize("library", HOMES)
def test_a_library_is_imported_at_home_only(library: str) -> None:
    """What speaks NATS, SQL, HTTP or to the kernel can be exchanged in one place."""
    strangers = [
        shown(path)
        for one, path in modules()
        if one.name not in HOMES[library]
        and any(name.split(".")[0] == library for name in imports(path))
    ]
    assert strangers == []


def _speaks_sql(path: Path) -> bool:
    """Tell whether a module composes SQL; one that only passes a connection on does not."""
    names = {name for name in imports(path) if name.split(".")[0] in {"sqlalchemy", "alembic"}}
    return bool(names - {"sqlalchemy.Connection"})


def test_who_speaks_sql_is_not_on_the_bus() -> None:
    """A service decides and answers; its store alone knows how things are kept."""
    strangers = [
        shown(path)
        for one, path in modules()
        if one.name != "kit"
        and _speaks_sql(path)
        and any(name.startswith(("muster.kit.bus.", "muster.kit.serve.")) for name in imports(path))
    ]
    assert strangers == []


def test_an_answering_class_does_not_speak_sql() -> None:
    """A reader of service.py finds what is promised, in the order of the calls, and no query."""
    assert [
        shown(path) for _, path in modules() if path.name == "service.py" and _speaks_sql(path)
    ] == []


def _loose_tasks(path: Path) -> Iterator[str]:
    """Yield where a task is begun by the loop itself, and not by a group that waits for it."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = ast.unparse(node.func.value)
            by_loop = owner == "asyncio" or owner.endswith(("loop", "loop()"))
            if node.func.attr == "ensure_future" or (node.func.attr == "create_task" and by_loop):
                yield f"{shown(path)}:{node.lineno}"


def test_no_task_runs_loose() -> None:
    """A task that nobody holds may vanish in mid-run, and its failure is told to nobody."""
    loose = [at for one, path in modules() if one.name != "kit" for at in _loose_tasks(path)]
    assert loose == []


def test_nothing_is_printed() -> None:
    """What is for people goes through click or the log; both know where it belongs."""
    printed = [
        f"{shown(path)}:{node.lineno}"
        for path in files(".py")
        if "src" in path.parts
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert printed == []


def _distributions(path: Path) -> set[str]:
    """Return the third-party distributions that a module imports from."""
    tops = {name.split(".")[0] for name in imports(path)} - {"muster"}
    return {str(canonicalize_name(d)) for top in tops for d in PROVIDERS.get(top, ())}


def _declared(one: Package) -> tuple[set[str], set[str]]:
    """Return what a package says that it needs itself, and all that it has through ours."""
    own = {Requirement(text) for text in one.project["dependencies"]}
    own |= {
        Requirement(text)
        for extra in one.project.get("optional-dependencies", {}).values()
        for text in extra
    }
    names = {str(canonicalize_name(requirement.name)) for requirement in own}
    ours = [other for other in packages() if other.project["name"] in names]
    outer = {name for other in ours for name in _declared(other)[1]}
    third = {name for name in names if not name.startswith("muster-")}
    return third, third | outer


@pytest.mark.parametrize("one", packages(), ids=lambda one: one.name)
def test_a_package_declares_what_it_imports(one: Package) -> None:
    """What only happens to be installed here is missing where the package is alone."""
    imported = {name for path in one.modules for name in _distributions(path)} - {"pytest"}
    own, all_of_it = _declared(one)
    undeclared = imported - all_of_it
    assert {name for name in undeclared if not WITHIN.get(name, set()) & all_of_it} == set()
    assert own - imported - UNSEEN == set()


def test_a_node_needs_no_code_of_the_server() -> None:
    """What the agent installs of kit are its plain dependencies, without the extras."""
    needs = {Requirement(text).name for text in package("agent").project["dependencies"]}
    extras = [Requirement(text).extras for text in package("agent").project["dependencies"]]
    assert "muster-kit" in needs
    assert not any(extras)
