"""Nodes that somebody has to approve: the broker does not let them in before."""

import asyncio
import gc
from collections.abc import Iterator

import pytest

from muster.contracts.authority import (
    APPROVE_NODE,
    CREATE_JOIN_TOKEN,
    ApproveNode,
    CreateJoinToken,
)
from muster.contracts.errors import Denied, NotFound
from muster.contracts.names import new_node_id
from muster.kit import bus
from muster.kit.client import Credentials
from muster.kit.identity.nkeys import Key
from tests.authority.conftest import Stage
from tests.authority.test_signing import sign

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Have the sockets of refused attempts collected, which nats-py leaves open."""
    yield
    gc.collect()


async def pending(stage: Stage) -> tuple[str, Credentials]:
    """Join a node with a token that asks for approval."""
    ask = CreateJoinToken(approve=True)
    token = await stage.client.ask(CREATE_JOIN_TOKEN, ask, ticket=stage.broker.ticket())
    key = Key.generate("U")
    joined = await stage.join(token.secret, key)
    assert joined.pending
    return joined.node, Credentials(joined.jwt, key)


async def test_a_pending_node_can_do_nothing(stage: Stage) -> None:
    """Not connect, and nothing is signed for it; approved, it comes in with what it has."""
    node, credentials = await pending(stage)
    entered = asyncio.Event()

    async def knock() -> None:
        async with bus.connect(stage.broker.url, name=node, creds=lambda: credentials, slowest=0.2):
            entered.set()
            await asyncio.Event().wait()

    knocking = asyncio.create_task(knock())  # noqa: TID251
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await entered.wait()
        with pytest.raises(NotFound, match="unknown or revoked"):
            await sign(stage, [node])
        viewer = await stage.user("viewer1", "viewer")
        with pytest.raises(Denied):
            await stage.ask(APPROVE_NODE, ApproveNode(node=node), viewer)
        await stage.ask(APPROVE_NODE, ApproveNode(node=node))
        async with asyncio.timeout(20):
            await entered.wait()
        assert await sign(stage, [node])
    finally:
        knocking.cancel()
    with pytest.raises(NotFound):
        await stage.ask(APPROVE_NODE, ApproveNode(node=new_node_id()))
    assert [r.result for r in await stage.audit(action="node.approve")] == ["ok"]
    pends = [r.nodes for r in await stage.audit(action="node.join", result="pending")]
    assert pends == [[node]]
