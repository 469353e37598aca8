"""Who may do what, where, as whom, and under which conditions."""

from datetime import time
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from muster.contracts.base import Message
from muster.contracts.names import LARGEST, Int, Label, Note, ShortText

NODES: Final = {
    "node.read": "see nodes, how they are and what they are",
    "node.write": "rename, tag and group nodes",
    "node.revoke": "shut nodes out",
    "run.create": "run commands",
    "run.read": "see what others have run, and its output",
    "run.approve": "approve what others want to run",
}
"""Actions on nodes: a grant gives them on the nodes that it selects."""

SERVER: Final = {
    "node.join": "let hosts join",
    "user.read": "see people and their roles",
    "user.write": "invite, change and disable people",
    "role.write": "change what roles may do",
    "audit.read": "read the audit",
    "metrics.read": "read the server's figures",
}
"""Actions on the server as a whole: they need a grant on all nodes."""

ACTIONS: Final = NODES | SERVER
"""Everything that can be granted, and what it means."""

Action = Annotated[str, StringConstraints(pattern=r"^(\*|[a-z]+\.(\*|[a-z]+))$")]
"""An action, or several: ``run.create``, ``run.*``, ``*``."""

SelectorText = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
"""Which nodes are meant, see `muster.kit.selectors`."""

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEK: Final[tuple[Weekday, ...]] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Window(Message):
    """A time of the week; one that ends before it starts goes on into the next day."""

    days: Annotated[list[Weekday], Field(min_length=1, max_length=7)] = list(WEEK)
    start: time = time(0)
    end: time = time(0)
    """Excluded; the same as the start means the whole day."""
    zone: ShortText = "UTC"


class Grant(Message):
    """Actions that may be done on some nodes, if the conditions are met."""

    actions: Annotated[list[Action], Field(min_length=1, max_length=64)]
    nodes: SelectorText
    run_as: Annotated[list[ShortText], Field(max_length=32)] = []
    """Users on the node, with ``*``, besides the one that the agent runs as."""
    during: Annotated[list[Window], Field(max_length=32)] = []
    """When; always if empty."""
    most: Annotated[int, Field(ge=1, le=LARGEST)] | None = None
    """On how many nodes at once."""
    approval: bool = False
    """Another person has to approve each time."""
    fresh: bool = False
    """The second factor has to be shown again."""


class Role(Message):
    """Grants under a name."""

    name: Label
    grants: Annotated[list[Grant], Field(max_length=32)] = []
    note: Note = ""
    builtin: bool = False
    """Comes with Muster and cannot be changed."""
    version: Int = 0
    """Grows with every change; a change of an older version is refused."""


_RUNS: Final = ["node.read", "run.create", "run.read"]
ROLES: Final = {
    role.name: role
    for role in (
        Role(
            name="admin",
            grants=[Grant(actions=["*"], nodes="all", run_as=["*"])],
            note="everything",
            builtin=True,
        ),
        Role(
            name="operator",
            grants=[Grant(actions=_RUNS, nodes="all")],
            note="runs commands on all nodes",
            builtin=True,
        ),
        Role(
            name="tech",
            grants=[
                Grant(actions=["node.read", "run.read"], nodes="all"),
                Grant(actions=["run.create"], nodes="all", approval=True),
            ],
            note="runs commands that somebody else approves",
            builtin=True,
        ),
        Role(
            name="viewer",
            grants=[Grant(actions=["node.read", "run.read"], nodes="all")],
            note="sees nodes, runs and their output",
            builtin=True,
        ),
        Role(
            name="void",
            grants=[Grant(actions=["node.read"], nodes="all")],
            note="sees nodes",
            builtin=True,
        ),
    )
}
"""The roles that come with Muster."""
