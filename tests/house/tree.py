"""The files of this repository, as its rules see them.

A package here is a folder with a ``pyproject.toml`` and its code in ``src/muster/<name>/``.
Git is not asked, because a copy of the tree without its history must pass as well.
"""

import ast
import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
SERVICES: Final = ("authority", "gateway", "registry", "scheduler")


@dataclass(frozen=True, slots=True)
class Package:
    """One distribution of the workspace."""

    name: str
    """Of its room in the namespace: ``registry``."""
    folder: Path
    project: dict[str, Any]

    @property
    def code(self) -> Path:
        """Where its modules are."""
        return self.folder / "src" / "muster" / self.name

    @property
    def modules(self) -> list[Path]:
        """Every Python file of it."""
        return [path for path in files(".py") if path.is_relative_to(self.code)]


def _ignored(patterns: list[str], path: Path) -> bool:
    here = path.relative_to(ROOT).as_posix()
    return path.name == ".git" or any(
        fnmatch(here, pattern.strip("/")) or fnmatch(path.name, pattern.strip("/"))
        for pattern in patterns
    )


def _walk() -> Iterator[Path]:
    lines = (ROOT / ".gitignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    for folder, below, names in os.walk(ROOT):
        here = Path(folder)
        below[:] = sorted(name for name in below if not _ignored(patterns, here / name))
        yield from (here / name for name in sorted(names) if not _ignored(patterns, here / name))


@cache
def _all_files() -> tuple[Path, ...]:
    return tuple(_walk())


def files(*endings: str) -> list[Path]:
    """Return every file that is kept in git and has one of *endings* (any, if none is given)."""
    return [path for path in _all_files() if not endings or path.name.endswith(endings)]


@cache
def packages() -> tuple[Package, ...]:
    """Return every distribution of the workspace, in the order of their folders."""
    found: list[Package] = []
    for path in files("pyproject.toml"):
        code = sorted((path.parent / "src" / "muster").glob("*/__init__.py"))
        found.extend(
            Package(init.parent.name, path.parent, tomllib.loads(path.read_text())["project"])
            for init in code
        )
    return tuple(found)


def package(name: str) -> Package:
    """Return one distribution by the name of its room."""
    return next(one for one in packages() if one.name == name)


def agent_deps() -> list[str]:
    """Return what ``agent/deps.txt`` allows to be installed with the agent."""
    lines = (package("agent").folder / "deps.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def workspace() -> dict[str, Any]:
    """Return the root's ``pyproject.toml``."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def is_test(path: Path) -> bool:
    """Tell whether *path* is under ``tests``."""
    return path.is_relative_to(ROOT / "tests")


def shown(path: Path) -> str:
    """Return *path* as it is written in a message."""
    return path.relative_to(ROOT).as_posix()


@cache
def parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a Python file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(path: Path) -> set[str]:
    """Return the dotted names of all modules and members that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found
