"""What is packed is unpacked as the same, whatever is in it."""

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from docs.generate import constants, messages
from muster.contracts.authority import Exchange, Join, Login
from muster.contracts.base import NODE, Call, Message
from muster.contracts.factors import SecondStep
from muster.contracts.nodes import Heartbeat
from muster.contracts.people import Accept
from tests.contracts.randoms import values

FROM_NODES = {call.ask for call in constants(Call).values() if call.needs == NODE} | {Heartbeat}
FROM_ANYBODY = {Join, Login, Exchange, Accept, SecondStep}
EXAMPLES = 100 if os.environ.get("CI") else 20
QUIET = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example],
)
"""Enough to find a type that does not come back; slow machines are no finding."""
HARD = settings(QUIET, max_examples=1000)
"""For what comes from outside, where nobody has checked it before."""


@pytest.mark.parametrize("message", messages(), ids=lambda m: m.__name__)
@QUIET
@given(data=st.data())
def test_a_message_comes_back_as_it_was_sent(message: type[Message], data: st.DataObject) -> None:
    """Binary data, odd text and all numbers survive the way over the bus."""
    comes_back(message, data)


@pytest.mark.parametrize(
    "message", sorted(FROM_NODES | FROM_ANYBODY, key=str), ids=lambda m: m.__name__
)
@HARD
@given(data=st.data())
def test_what_strangers_send_comes_back_a_thousand_times(
    message: type[Message], data: st.DataObject
) -> None:
    """The same for the messages of nodes, and of those who have not logged in yet."""
    comes_back(message, data)


def comes_back(message: type[Message], data: st.DataObject) -> None:
    """Check that a random *message* is the same after the way over the bus."""
    sent = message.model_validate_json(json.dumps(data.draw(values(message))))
    assert message.model_validate_json(sent.model_dump_json()) == sent
