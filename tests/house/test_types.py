"""The type checkers and linters look at every file."""

from pathlib import Path

import pytest
from mypy.main import process_options

from tests.house.tree import ROOT, files, packages, shown, workspace


def test_mypy_is_given_every_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mypy follows one portion of a namespace only, and is silent about the rest."""
    monkeypatch.chdir(ROOT)
    sources, _ = process_options(["--config-file", "pyproject.toml"])
    given = {Path(source.path).resolve() for source in sources if source.path}
    assert [shown(path) for path in files(".py") if path.resolve() not in given] == []


def test_mypy_gives_every_file_the_name_that_it_is_imported_by(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Under another name a module would be checked twice, or not against those that use it."""
    monkeypatch.chdir(ROOT)
    sources, _ = process_options(["--config-file", "pyproject.toml"])
    names = {Path(s.path).resolve(): s.module for s in sources if s.path}
    for one in packages():
        for path in one.modules:
            parts = path.relative_to(one.folder / "src").with_suffix("").parts
            dotted = ".".join(parts).removesuffix(".__init__")
            assert names[path.resolve()] == dotted


def test_the_tools_know_every_package() -> None:
    """A new package is added to the lists of mypy, ruff and uv."""
    sources = {shown(one.folder / "src") for one in packages()}
    tool = workspace()["tool"]
    assert set(tool["ruff"]["src"]) == {".", *sources}
    assert set(tool["mypy"]["mypy_path"]) == sources
    assert sources <= set(tool["mypy"]["files"])
    distributions = {one.project["name"] for one in packages()}
    assert set(tool["uv"]["sources"]) == distributions
    assert distributions <= set(workspace()["project"]["dependencies"])


def test_mypy_is_strict() -> None:
    """No section of the settings makes an exception."""
    mypy = workspace()["tool"]["mypy"]
    assert mypy["strict"] is True
    assert not any(key.startswith(("ignore", "disable")) for key in mypy)
