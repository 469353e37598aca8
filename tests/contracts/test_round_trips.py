"""What is packed is unpacked as the same, whatever is in it."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from docs.generate import messages
from muster.contracts.base import Message
from tests.contracts.randoms import values

QUIET = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example],
)
"""Enough to find a type that does not come back; slow machines are no finding."""


@pytest.mark.parametrize("message", messages(), ids=lambda m: m.__name__)
@QUIET
@given(data=st.data())
def test_a_message_comes_back_as_it_was_sent(message: type[Message], data: st.DataObject) -> None:
    """Binary data, odd text and all numbers survive the way over the bus."""
    sent = message.model_validate_json(json.dumps(data.draw(values(message))))
    assert message.model_validate_json(sent.model_dump_json()) == sent
