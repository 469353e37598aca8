"""The closed set of errors."""

import pytest

from muster.contracts.errors import BY_CODE, MusterError, SecondFactor, Superseded


@pytest.mark.parametrize("code", BY_CODE)
def test_an_error_is_found_by_its_code(code: str) -> None:
    """What a service raises is what the caller catches."""
    kind = BY_CODE[code]
    assert kind.code == code
    assert 400 <= kind.status < 600
    assert issubclass(kind, MusterError)


def test_no_two_errors_share_a_status() -> None:
    """A client that knows only HTTP can tell them apart as well."""
    finer = {Superseded, SecondFactor}  # kinds of 401: who asks has to prove something
    statuses = [kind.status for kind in BY_CODE.values() if kind not in finer]
    assert len(set(statuses)) == len(statuses)
