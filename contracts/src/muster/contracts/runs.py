"""What the scheduler answers, and what passes between it and the agents: runs.

The way of one command: `CREATE_RUN` -> resolve -> authority signs -> ``muster.cmd.<node>.run``
-> agent's journal -> `REPORT` (again and again until the scheduler has committed it) -> state.
"""

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from muster.contracts.base import NODE, Call, Event, Message, Nothing
from muster.contracts.names import (
    TEXT,
    Count,
    Hostile,
    Id,
    Int,
    Label,
    Limit,
    NodeId,
    Note,
    Seconds,
    ShortText,
    Time,
)
from muster.contracts.nodes import Targets

PIECE: Final = 128 * 1024
"""The largest piece of output in one message, in bytes."""

READ_LIMIT: Final = 512 * 1024
"""The largest part of a file in one answer, in bytes."""

ARGS_LIMIT: Final = 512 * 1024
"""The largest command with its standard input and environment, as JSON, in bytes."""


class State(StrEnum):
    """Where a target is; the last eight are final."""

    WAITING = "waiting"
    """Another person has to approve it first."""
    ACCEPTED = "accepted"
    QUEUED = "queued"
    """The node is away; it gets the command when it returns."""
    SENT = "sent"
    RECEIVED = "received"
    STARTED = "started"
    DONE = "done"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REFUSED = "refused"
    INTERRUPTED = "interrupted"
    LOST = "lost"

    @property
    def final(self) -> bool:
        """Whether nothing can follow."""
        return self in FINAL

    @property
    def rank(self) -> int:
        """How far along; a target never goes back, but for sent -> queued."""
        return 9 if self.final else _ORDER[self]


_ENDS: Final = "done failed timed_out cancelled expired refused interrupted lost"
FINAL: Final = frozenset(map(State, _ENDS.split()))
_ORDER: Final = {s: i for i, s in enumerate(State) if s not in FINAL}


class Stream(StrEnum):
    """Which of a command's two outputs."""

    OUT = "stdout"
    ERR = "stderr"


class Command(Message):
    """What to run on a node: an argument list, or a text for ``/bin/sh -c``."""

    argv: Annotated[
        list[Annotated[str, Field(max_length=131_072, pattern=TEXT)]], Field(max_length=4096)
    ] = []
    shell: Annotated[str, Field(max_length=131_072, pattern=TEXT)] = ""
    stdin: bytes = b""
    cwd: Annotated[str, Field(max_length=4096, pattern=TEXT)] = ""
    run_as: Note = ""
    """A user of the node; empty: the one that the agent runs commands as."""
    env: dict[
        Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,254}$")],
        Annotated[str, Field(max_length=131_072, pattern=TEXT)],
    ] = {}
    timeout: Seconds = 3600.0
    """Seconds until the whole process tree is ended."""
    output_cap: Annotated[int, Field(ge=0, le=1 << 30)] = 16 * 1024 * 1024
    """Bytes of output that the server keeps; half from the head, half from the tail."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if bool(self.argv) == bool(self.shell):
            raise ValueError("give either argv or shell")
        if any("\0" in one for one in (*self.argv, self.shell, self.cwd, *self.env.values())):
            raise ValueError("a command cannot hold a NUL byte")
        return self


class CreateRun(Message):
    """Run a command on nodes."""

    command: Command
    targets: Targets
    note: Note = ""
    expires_in: Seconds = 3600.0
    """Seconds for which a node that is away may still fetch the command."""
    key: Note = ""
    """The same key from the same person answers with the first run."""


class TargetView(Message):
    """One node's part in a run."""

    node: NodeId
    name: str
    state: State
    reason: Hostile = ""
    """Why it was refused, lost, …"""
    exit: Int | None = None
    signal: Annotated[int, Field(ge=0, le=255)] | None = None
    sent: Time | None = None
    started: Time | None = None
    finished: Time | None = None
    stdout: Int = 0
    """Bytes that the command wrote."""
    stderr: Int = 0
    seq: Int = 0
    """The run's event number that changed it last."""


class RunView(Message):
    """A run; targets only where they were asked for."""

    id: Id
    command: Command
    note: str = ""
    created: Time
    by: str
    expires: Time
    finished: Time | None = None
    counts: dict[State, Count] = {}
    targets: list[TargetView] = []
    seq: Int = 0
    """The number of the run's last event."""

    @property
    def over(self) -> bool:
        """Whether every target is in a final state."""
        return self.finished is not None


class GetRun(Message):
    """One run, by its id or a unique beginning of it."""

    run: Annotated[str, Field(pattern=r"^[0-9a-hjkmnp-tv-z]{4,26}$")]
    wait: Annotated[float, Field(ge=0, le=30)] = 0.0
    """Seconds to wait for the end of the run before answering."""


class ListRuns(Message):
    """A page of runs, newest first."""

    limit: Limit = 50
    before: ShortText = ""
    """Only runs with a smaller id."""
    node: ShortText = ""
    by: ShortText = ""
    active: bool = False


class RunPage(Message):
    """Some runs, without targets, and where to go on."""

    items: list[RunView]
    next: str = ""


class CancelRun(Message):
    """End a run on all its nodes, or on some."""

    run: Id
    nodes: list[NodeId] = []


class Piece(Message):
    """A piece of one output; `offset` counts the bytes that the command wrote before it."""

    stream: Stream
    offset: Count
    data: Annotated[bytes, Field(max_length=PIECE)]


class RunEvent(Message):
    """What changed at one target: its state, and new pieces of output. Dense `seq` per run."""

    run: Id
    seq: Int
    target: TargetView
    pieces: list[Piece] = []
    finished: Time | None = None
    """Set by the event that ends the whole run."""


class RunEventsAfter(Message):
    """What happened in a run after an event number, oldest first."""

    run: Id
    after: Int = 0
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    output: bool = True


class RunEvents(Message):
    """Events of a run. A target's earlier states may be folded into its latest one."""

    items: list[RunEvent]
    seq: Int
    """Everything up to here has been told."""
    more: bool = False


class ReadOutput(Message):
    """The stored copy of one output of one target, from an offset on."""

    run: Id
    node: NodeId
    stream: Stream
    offset: Count = 0


class Output(Message):
    """Stored output. `offset` is where `data` begins: a gap before it was cut by the cap."""

    offset: Int
    data: bytes
    size: Int
    """Bytes that the command has written so far."""
    end: bool
    """Nothing is stored behind this, and the command is over."""


class ListFiles(Message):
    """The result files of one target."""

    run: Id
    node: NodeId


class ResultFile(Message):
    """A file in the result folder, or one of the full outputs (``stdout``, ``stderr``)."""

    path: Annotated[str, Field(max_length=4096)]
    size: Int
    modified: Time


class ResultFiles(Message):
    """Ordered by path. `outputs` are the full stdout and stderr as long as the node has them."""

    items: list[ResultFile] = []
    outputs: list[ResultFile] = []
    truncated: bool = False
    """There are more than are listed."""


class ReadFile(Message):
    """A part of a result file on the node."""

    run: Id
    node: NodeId
    path: Annotated[str, Field(min_length=1, max_length=4096)]
    output: bool = False
    """`path` is ``stdout`` or ``stderr``: the full output instead of a result file."""
    offset: Count = 0
    limit: Annotated[int, Field(ge=1, le=READ_LIMIT)] = READ_LIMIT


class FilePart(Message):
    """Bytes of a file."""

    data: bytes
    size: Int
    """Of the whole file, now."""


class Report(Message):
    """What an agent tells of one run: its state, and output not told yet.

    Sent again until the scheduler has answered; states and pieces may repeat.
    """

    run: Id
    command: Id
    """The envelope's id."""
    state: State
    reason: Hostile = ""
    exit: Int | None = None
    signal: Annotated[int, Field(ge=0, le=255)] | None = None
    started: Time | None = None
    finished: Time | None = None
    stdout: Count = 0
    stderr: Count = 0
    pieces: Annotated[list[Piece], Field(max_length=64)] = []


class Journalled(Message):
    """A run that the agent has in its journal and that is not acknowledged as ended."""

    run: Id
    state: State


class Sync(Message):
    """An agent is back, or checks that both sides believe the same."""

    known: Annotated[list[Journalled], Field(max_length=10_000)] = []


class SyncAnswer(Message):
    """What the agent has missed: signed commands, as they go over ``muster.cmd.<node>.<verb>``."""

    commands: list[bytes] = []
    more: bool = False
    """Ask again: there are more than fit in one answer."""


class Envelope(Message):
    """The signed part of a command. The argument bytes travel behind it, bound by `digest`."""

    id: Id
    node: NodeId
    verb: Label
    run: Id
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    run_as: ShortText = ""
    caller: ShortText
    issued: Time
    expires: Time
    epoch: Int


class Cancel(Message):
    """Arguments of the verb `cancel`: end the run that the envelope names."""


class Read(Message):
    """Arguments of the verb `read`: look at the files of the run that the envelope names."""


class ReadAsk(Message):
    """What a request with a `read` envelope wants: the list, or a part of one file."""

    command: bytes
    """The signed `read` command."""
    path: Annotated[str, Field(max_length=4096)] = ""
    """Empty: the list of files."""
    output: bool = False
    offset: Count = 0
    limit: Annotated[int, Field(ge=1, le=READ_LIMIT)] = READ_LIMIT


class RunFinished(Message):
    """Every target of a run is in a final state."""

    run: Id
    counts: dict[State, Count]
    at: Time


CREATE_RUN: Final = Call("muster.svc.scheduler.create", CreateRun, RunView, "run.create")
GET_RUN: Final = Call("muster.svc.scheduler.get", GetRun, RunView, "run.read", safe=True)
LIST_RUNS: Final = Call("muster.svc.scheduler.list", ListRuns, RunPage, "run.read", safe=True)
CANCEL_RUN: Final = Call("muster.svc.scheduler.cancel", CancelRun, RunView, "run.create")
RUN_EVENTS: Final = Call(
    "muster.svc.scheduler.events", RunEventsAfter, RunEvents, "run.read", safe=True
)
READ_OUTPUT: Final = Call("muster.svc.scheduler.output", ReadOutput, Output, "run.read", safe=True)
LIST_FILES: Final = Call(
    "muster.svc.scheduler.files", ListFiles, ResultFiles, "run.read", safe=True
)
READ_FILE: Final = Call("muster.svc.scheduler.file", ReadFile, FilePart, "run.read", safe=True)
SYNC: Final = Call("muster.svc.scheduler.sync", Sync, SyncAnswer, NODE)
REPORT: Final = Call("muster.svc.scheduler.report", Report, Nothing, NODE)

RUN_CHANGED: Final = Event("muster.live.scheduler.run.{0}", RunEvent)
"""From the scheduler to the gateways, lossy: catch up with `RUN_EVENTS` by seq."""

RUN_FINISHED: Final = Event("muster.fact.scheduler.run.{0}.finished", RunFinished, durable=True)
