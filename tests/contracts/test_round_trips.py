"""What is packed is unpacked as the same, whatever is in it."""

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings

from docs.generate import messages
from muster.contracts.base import Message
from tests.contracts.randoms import values

EXAMPLES = 1000 if os.environ.get("CI") else 20
QUIET = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example],
)
"""Enough to find a type that does not come back; slow machines are no finding."""


@pytest.mark.parametrize("message", messages(), ids=lambda m: m.__name__)
def test_a_message_comes_back_as_it_was_sent(message: type[Message]) -> None:
    """Binary data, odd text and all numbers survive the way over the bus."""

    @QUIET
    @given(values(message))
    def comes_back(value: object) -> None:
        sent = message.model_validate_json(json.dumps(value))
        assert message.model_validate_json(sent.model_dump_json()) == sent

    comes_back()
