"""Nothing grows past what a reader can hold in mind."""

import ast

from tests.house.tree import files, is_test, parsed, shown

LINES_OF_A_FUNCTION = 60
LINES_OF_A_FILE = 400
LINES_OF_A_TEST_FILE = 600


def test_no_function_is_longer_than_a_screen() -> None:
    """A function of more than 60 lines is two functions; a migration is only a list."""
    long = [
        f"{shown(path)}:{node.lineno} {node.name}: {length}"
        for path in files(".py")
        if path.parent.name != "versions"
        for node in ast.walk(parsed(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (length := (node.end_lineno or 0) - node.lineno + 1) > LINES_OF_A_FUNCTION
    ]
    assert long == []


def test_no_file_is_longer_than_a_chapter() -> None:
    """A module of more than 400 lines has two ideas; a file of tests may have 600."""
    long = [
        f"{shown(path)}: {length}"
        for path in files(".py")
        if (length := len(path.read_text(encoding="utf-8").splitlines()))
        > (LINES_OF_A_TEST_FILE if is_test(path) else LINES_OF_A_FILE)
    ]
    assert long == []
