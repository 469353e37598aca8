"""``pytest tests/contracts --write-golden`` writes what is missing from the golden files."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Writing is asked for by name, never done in passing."""
    parser.addoption(
        "--write-golden", action="store_true", help="add new messages and fields to golden/"
    )


@pytest.fixture
def write_golden(request: pytest.FixtureRequest) -> bool:
    """Whether missing parts are to be written."""
    return bool(request.config.getoption("--write-golden", default=False))
