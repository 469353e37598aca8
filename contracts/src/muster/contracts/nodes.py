"""What the registry answers and hears: nodes, presence, inventory, metrics."""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from muster.contracts.allowed import Allowed
from muster.contracts.base import NODE, SERVICE, Call, Event, Message, Nothing
from muster.contracts.names import (
    Count,
    Hostile,
    Int,
    Label,
    LongText,
    NodeId,
    NodeName,
    PublicKey,
    ShortText,
    Time,
)

Percent = Annotated[float, Field(ge=0, le=100)]
Rate = Annotated[float, Field(ge=0)]


class DiskUse(Message):
    """One mounted file system."""

    mount: Hostile
    device: Hostile = ""
    kind: Hostile = ""
    total: Count
    """Bytes."""
    used: Count
    """Bytes."""
    free: Count | None = None
    """Bytes that may still be written: less than what is not used, where some is reserved."""


class DiskIo(Message):
    """One block device; bytes per second since the last heartbeat."""

    device: Hostile
    read: Rate
    written: Rate


class NetIo(Message):
    """One network interface; bytes per second since the last heartbeat."""

    name: Hostile
    received: Rate
    sent: Rate


class Temperature(Message):
    """One sensor, in degrees Celsius."""

    sensor: Hostile
    celsius: Annotated[float, Field(ge=-273.15, le=10_000)]


class Metrics(Message):
    """How a host is at one moment; sizes in bytes."""

    cpu: Percent
    """All cores together."""
    cores: Annotated[list[Percent], Field(max_length=4096)] = []
    load: tuple[Rate, Rate, Rate] = (0.0, 0.0, 0.0)
    """1, 5 and 15 minutes."""
    memory_total: Count
    memory_used: Count
    swap_total: Count = 0
    swap_used: Count = 0
    disks: Annotated[list[DiskUse], Field(max_length=256)] = []
    disk_io: Annotated[list[DiskIo], Field(max_length=256)] = []
    net: Annotated[list[NetIo], Field(max_length=256)] = []
    temperatures: Annotated[list[Temperature], Field(max_length=256)] = []
    processes: Count = 0
    uptime: Rate = 0.0
    """Seconds since boot."""


class Heartbeat(Message):
    """A node is alive, and this is how it is."""

    at: Time
    """By the node's own clock."""
    seq: Count = 0
    """Counts up from 0 since the agent started."""
    version: ShortText
    """Of the agent."""
    boot: ShortText = ""
    """The kernel's boot id."""
    trouble: Hostile = ""
    """Why the agent refuses commands at the moment, or nothing."""
    metrics: Metrics


class Address(Message):
    """One address of one interface."""

    interface: Hostile
    address: Hostile
    mac: Hostile = ""


class Inventory(Message):
    """What a host is; sent at start and on change."""

    hostname: Hostile
    os: Hostile
    """For people: ``Debian GNU/Linux 12 (bookworm)``."""
    os_family: Hostile = ""
    """``debian``, ``rhel``, ``darwin``…"""
    kernel: Hostile = ""
    architecture: Hostile = ""
    cpu: Hostile = ""
    cores: Count = 0
    memory: Count = 0
    """Bytes."""
    addresses: Annotated[list[Address], Field(max_length=512)] = []
    timezone: Hostile = ""
    user: Hostile = ""
    """The user that the agent runs as."""
    python: Hostile = ""
    agent: Hostile = ""
    capabilities: Annotated[list[Label], Field(max_length=64)] = []
    allowed: Allowed | None = None
    """None: the agent is too old to tell."""


class NodeState(StrEnum):
    """What the registry believes of a node."""

    PENDING = "pending"
    """Asked to join; nobody has approved it yet, and it can do nothing."""
    NEW = "new"
    """Joined, never seen."""
    ONLINE = "online"
    OFFLINE = "offline"
    REVOKED = "revoked"


class Node(Message):
    """One node, as the registry knows it."""

    id: NodeId
    name: NodeName
    state: NodeState
    groups: list[Label] = []
    tags: dict[Label, Label] = {}
    joined: Time
    state_since: Time
    seen: Time | None = None
    """The last heartbeat or connection."""
    reason: Hostile = ""
    """Why it went offline, as the broker tells it."""
    skew: float = 0.0
    """Seconds that the node's clock is ahead of the server's."""
    version: Hostile = ""
    trouble: Hostile = ""
    inventory: Inventory | None = None
    metrics: Metrics | None = None
    metrics_at: Time | None = None
    seq: Int = 0
    """Grows with every change of any node; the cursor of live updates."""


class ListNodes(Message):
    """A page of nodes, ordered by name."""

    query: ShortText = ""
    """A part of the name, host name, address, group, tag or operating system."""
    selector: LongText = ""
    state: NodeState | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    cursor: ShortText = ""
    brief: bool = False
    """Leave out per-core, per-disk and per-interface details and the inventory's addresses."""


class NodePage(Message):
    """Some nodes, and where to go on."""

    items: list[Node]
    next: str = ""
    """The cursor of the next page; empty at the end."""


class NodesSince(Message):
    """The nodes that changed after a sequence number."""

    epoch: ShortText
    """Of the registry's counter, from an earlier answer; a foreign one answers with `reset`."""
    after: Int
    limit: Annotated[int, Field(ge=1, le=1000)] = 200


class NodeChanges(Message):
    """Nodes that changed, oldest change first. Also the live message on `NODES_CHANGED`."""

    epoch: ShortText
    seq: Int
    """Everything up to here is known to the reader of this message."""
    items: list[Node] = []
    gone: list[NodeId] = []
    """Nodes that the reader may have seen before, and may not see any more."""
    more: bool = False
    reset: bool = False
    """The reader's picture is of another epoch: read the list again."""


class FindNode(Message):
    """One node, by its id or its name."""

    node: ShortText


class Targets(Message):
    """Which nodes are meant, in one of three ways. Nothing chosen is an error, never all."""

    names: Annotated[list[ShortText], Field(max_length=10_000)] = []
    """Names or ids."""
    all: bool = False
    selector: LongText = ""
    """``web* and not (role=test)``: see `muster.kit.selectors`."""


class Target(Message):
    """A node that was meant."""

    id: NodeId
    name: NodeName
    state: NodeState


class Resolved(Message):
    """The nodes that `Targets` named, ordered by name, each once."""

    items: list[Target]


class WhichNodes(Message):
    """Some nodes, by id."""

    nodes: Annotated[list[NodeId], Field(max_length=1000)]


class Facts(Message):
    """What grants may go by: nothing that a node tells of itself."""

    id: NodeId
    name: NodeName
    groups: list[Label] = []
    tags: dict[Label, Label] = {}


class NodeFacts(Message):
    """The nodes that exist, of those that were asked for."""

    items: list[Facts]


class AskReach(Message):
    """On which nodes the caller may do *action*."""

    action: ShortText


class Reach(Message):
    """On all nodes, or on some."""

    everywhere: bool = False
    nodes: list[NodeId] = []


class RenameNode(Message):
    """Give a node another name."""

    node: ShortText
    name: NodeName


class TagNode(Message):
    """Set and remove tags of a node."""

    node: ShortText
    put: dict[Label, Label] = {}
    remove: list[Label] = []


class GroupNode(Message):
    """Add a node to groups and take it out of others."""

    node: ShortText
    add: list[Label] = []
    remove: list[Label] = []


class ReadMetrics(Message):
    """The history of one node."""

    node: ShortText
    start: Time
    end: Time
    points: Annotated[int, Field(ge=1, le=10_000)] = 600
    """At most so many samples; more are thinned out by time."""


class Sample(Message):
    """The metrics of one moment, by the server's clock."""

    at: Time
    metrics: Metrics


class History(Message):
    """Samples, oldest first."""

    node: NodeId
    items: list[Sample]


class FleetStats(Message):
    """The fleet in numbers."""

    nodes: Int
    online: Int
    offline: Int
    new: Int
    revoked: Int


class NodeJoined(Message):
    """The authority has admitted a host."""

    id: NodeId
    hostname: Hostile
    name: NodeName | None = None
    """Wished for in the join token."""
    groups: list[Label] = []
    tags: dict[Label, Label] = {}
    public_key: PublicKey
    at: Time
    pending: bool = False
    """Somebody has to approve it first."""


class NodeApproved(Message):
    """Somebody has approved a pending node."""

    id: NodeId
    by: ShortText
    at: Time


class NodeRevoked(Message):
    """The authority has shut a node out."""

    id: NodeId
    by: ShortText
    reason: LongText = ""
    at: Time


HEARTBEAT: Final = Event("muster.hb.{0}", Heartbeat)
"""From a node (token 0), lossy, every 10 s."""

NODE_JOINED: Final = Event("muster.fact.authority.node.{0}.joined", NodeJoined, durable=True)
NODE_APPROVED: Final = Event("muster.fact.authority.node.{0}.approved", NodeApproved, durable=True)
NODE_REVOKED: Final = Event("muster.fact.authority.node.{0}.revoked", NodeRevoked, durable=True)

NODES_CHANGED: Final = Event("muster.live.registry.nodes", NodeChanges)
"""From the registry to the gateways, at most four times a second, lossy: catch up by seq."""

REPORT_INVENTORY: Final = Call("muster.svc.registry.inventory", Inventory, Nothing, NODE)
LIST_NODES: Final = Call("muster.svc.registry.list", ListNodes, NodePage, "node.read", safe=True)
NODES_SINCE: Final = Call(
    "muster.svc.registry.since", NodesSince, NodeChanges, "node.read", safe=True
)
FIND_NODE: Final = Call("muster.svc.registry.find", FindNode, Node, "node.read", safe=True)
RESOLVE: Final = Call("muster.svc.registry.resolve", Targets, Resolved, "node.read", safe=True)
NODE_FACTS: Final = Call("muster.svc.registry.facts", WhichNodes, NodeFacts, SERVICE, safe=True)
REACH: Final = Call("muster.svc.registry.reach", AskReach, Reach, "self", safe=True)
RENAME_NODE: Final = Call("muster.svc.registry.rename", RenameNode, Node, "node.write")
TAG_NODE: Final = Call("muster.svc.registry.tag", TagNode, Node, "node.write")
GROUP_NODE: Final = Call("muster.svc.registry.group", GroupNode, Node, "node.write")
READ_METRICS: Final = Call(
    "muster.svc.registry.metrics", ReadMetrics, History, "node.read", safe=True
)
FLEET_STATS: Final = Call("muster.svc.registry.stats", Nothing, FleetStats, "node.read", safe=True)
