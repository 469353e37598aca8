"""Tests run side by side and in any company."""

import ast

from tests.house.tree import ROOT, files, is_test, parsed, shown, workspace


def _scope(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Return the scope of a fixture; a function is one that nobody shares."""
    found = [
        keyword.value.value
        for mark in function.decorator_list
        if isinstance(mark, ast.Call)
        for keyword in mark.keywords
        if keyword.arg == "scope" and isinstance(keyword.value, ast.Constant)
    ]
    return str(found[0]) if found else "function"


def test_a_browser_ends_with_its_module() -> None:
    """Playwright's loop is the thread's running loop: no test that waits could run beside it."""
    lasting = [
        f"{shown(path)}: {node.name}"
        for path in files(".py")
        if is_test(path)
        for node in ast.walk(parsed(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and _scope(node) in {"session", "package"}
        and "sync_playwright()" in ast.unparse(node)
    ]
    assert lasting == []


def test_a_file_of_tests_is_never_divided() -> None:
    """What a module shares is made once; the machine has two cores."""
    options = workspace()["tool"]["pytest"]["ini_options"]["addopts"]
    assert "--dist=loadfile" in options


def test_what_ci_starts_is_executable() -> None:
    """A script that lost its bit fails at the first step, on another machine."""
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
