"""Nodes: list, find, name, tag, group, revoke; their metrics; the fleet in numbers."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Response
from pydantic import Field, TypeAdapter, ValidationError

from muster.contracts.authority import APPROVE_NODE, REVOKE_NODE, ApproveNode, RevokeNode
from muster.contracts.base import NOTHING, Message
from muster.contracts.errors import NotFound
from muster.contracts.names import Label, LongText, NodeId, NodeName, ShortText, Time
from muster.contracts.nodes import (
    FIND_NODE,
    FLEET_STATS,
    GROUP_NODE,
    LIST_NODES,
    READ_METRICS,
    RENAME_NODE,
    RESOLVE,
    TAG_NODE,
    FindNode,
    GroupNode,
    ListNodes,
    ReadMetrics,
    RenameNode,
    Sample,
    TagNode,
    Targets,
)
from muster.contracts.records import CHECK_NODE, CheckNode
from muster.gateway.gate import Me
from muster.gateway.openapi import declared, relayed
from muster.gateway.people import Visitor

router = APIRouter(tags=["nodes"])

NodeRef = Annotated[ShortText, Path(description="id or name", examples=["web1"])]
_NODE_ID = TypeAdapter(NodeId)


class NodePatch(Message):
    """What may be changed of a node."""

    name: NodeName | None = None


class TagChange(Message):
    """Tags to set and to remove."""

    put: dict[Label, Label] = Field(default_factory=dict)
    remove: list[Label] = Field(default_factory=list)


class GroupChange(Message):
    """Groups to enter and to leave."""

    add: list[Label] = Field(default_factory=list)
    remove: list[Label] = Field(default_factory=list)


class Revocation(Message):
    """Why a node is shut out."""

    reason: LongText = ""


@router.get("/nodes", summary="List nodes", **relayed(LIST_NODES, "listNodes", basic=True))
async def list_nodes(ask: Annotated[ListNodes, Query()], me: Me) -> Response:
    """Answer a page of nodes, ordered by name."""
    return await me.relay(LIST_NODES, ask)


_CHOICE = {"a selector": {"value": {"selector": "web* and not (role=test)"}}}


@router.post("/nodes/resolve", summary="Resolve targets", **relayed(RESOLVE, "resolveTargets"))
async def resolve(body: Annotated[Targets, Body(openapi_examples=_CHOICE)], me: Me) -> Response:
    """Answer which nodes are meant, as a run with these targets would."""
    return await me.relay(RESOLVE, body)


@router.get(
    "/fleet/stats", summary="Count nodes", **relayed(FLEET_STATS, "getFleetStats", basic=True)
)
async def fleet_stats(me: Me) -> Response:
    """Answer the fleet in numbers."""
    return await me.relay(FLEET_STATS, NOTHING)


@router.get("/nodes/{node}", summary="Find a node", **relayed(FIND_NODE, "getNode", basic=True))
async def get_node(node: NodeRef, me: Me) -> Response:
    """Answer everything that is known of a node."""
    return await me.relay(FIND_NODE, FindNode(node=node))


@router.patch("/nodes/{node}", summary="Rename a node", **relayed(RENAME_NODE, "updateNode"))
async def update_node(node: NodeRef, body: NodePatch, me: Me) -> Response:
    """Give a node another name."""
    if body.name is None:
        return await me.relay(FIND_NODE, FindNode(node=node))
    return await me.relay(RENAME_NODE, RenameNode(node=node, name=body.name))


_TAGS = {"set and remove": {"value": {"put": {"env": "prod"}, "remove": ["old"]}}}


@router.post("/nodes/{node}/tags", summary="Tag a node", **relayed(TAG_NODE, "tagNode"))
async def tag_node(
    node: NodeRef, body: Annotated[TagChange, Body(openapi_examples=_TAGS)], me: Me
) -> Response:
    """Set and remove tags."""
    return await me.relay(TAG_NODE, TagNode(node=node, put=body.put, remove=body.remove))


@router.post("/nodes/{node}/groups", summary="Group a node", **relayed(GROUP_NODE, "groupNode"))
async def group_node(node: NodeRef, body: GroupChange, me: Me) -> Response:
    """Add a node to groups, take it out of others."""
    return await me.relay(GROUP_NODE, GroupNode(node=node, add=body.add, remove=body.remove))


@router.get(
    "/nodes/{node}/record",
    summary="Compare a node's own record with the audit",
    **relayed(CHECK_NODE, "checkNode"),
)
async def check_node(node: NodeRef, me: Me) -> Response:
    """Answer whether what a node says to have executed is what was signed for it."""
    return await me.relay(CHECK_NODE, CheckNode(node=await _id_of(node, me)), timeout=60)


@router.post(
    "/nodes/{node}/approve",
    summary="Approve a pending node",
    status_code=204,
    **declared(APPROVE_NODE, "approveNode"),
)
async def approve_node(node: NodeRef, me: Me) -> None:
    """Let a node in that has joined with a token that asks for approval."""
    await me.ask(APPROVE_NODE, ApproveNode(node=await _id_of(node, me)))


@router.post(
    "/nodes/{node}/revoke",
    summary="Shut a node out",
    status_code=204,
    **declared(REVOKE_NODE, "revokeNode"),
)
async def revoke_node(node: NodeRef, body: Revocation, me: Me) -> None:
    """Cut the node's connection at once; it does not come back."""
    await me.ask(REVOKE_NODE, RevokeNode(node=await _id_of(node, me), reason=body.reason))


@router.get(
    "/nodes/{node}/metrics",
    summary="Read metrics",
    **relayed(READ_METRICS, "getMetrics", basic=True),
)
async def get_metrics(
    node: NodeRef,
    me: Me,
    start: Annotated[Time | None, Query(description="an hour before `end` if left out")] = None,
    end: Annotated[Time | None, Query(description="now if left out")] = None,
    points: Annotated[int, Query(ge=1, le=10_000, description="at most so many samples")] = 600,
) -> Response:
    """Answer the history of a node."""
    until = end or datetime.now(UTC)
    since = start or until - timedelta(hours=1)
    ask = ReadMetrics(node=node, start=since, end=until, points=points)
    return await me.relay(READ_METRICS, ask)


@router.get(
    "/nodes/{node}/metrics/latest",
    summary="Read the latest metrics",
    **declared(FIND_NODE, "getLatestMetrics", basic=True),
)
async def get_latest(node: NodeRef, me: Me) -> Sample:
    """Answer how a node was at its last heartbeat."""
    found = await me.ask(FIND_NODE, FindNode(node=node))
    if found.metrics is None or found.metrics_at is None:
        raise NotFound(f"{found.name} has not sent any metrics")
    return Sample(at=found.metrics_at, metrics=found.metrics)


async def _id_of(node: str, me: Visitor) -> str:
    try:
        return _NODE_ID.validate_python(node)
    except ValidationError:
        return (await me.ask(FIND_NODE, FindNode(node=node))).id
