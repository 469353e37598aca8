"""Runs: create, list, follow, cancel; output and result files."""

from typing import Annotated

from fastapi import APIRouter, Body, Header, Path, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from muster.contracts.base import Message
from muster.contracts.names import Id, NodeId
from muster.contracts.runs import (
    CANCEL_RUN,
    CREATE_RUN,
    GET_RUN,
    LIST_FILES,
    LIST_RUNS,
    READ_FILE,
    READ_OUTPUT,
    RUN_EVENTS,
    CancelRun,
    CreateRun,
    GetRun,
    ListFiles,
    ListRuns,
    ReadFile,
    ReadOutput,
    RunEventsAfter,
    Stream,
)
from muster.gateway import downloads
from muster.gateway.gate import Me
from muster.gateway.openapi import declared, relayed
from muster.kit.wire import unpack

router = APIRouter(tags=["runs"])

_EXAMPLE_ID = "01jd3v7q3k8x5f0c9r2m4n6p8s"
RunId = Annotated[Id, Path(examples=[_EXAMPLE_ID])]
RunStart = Annotated[
    str,
    Path(pattern=r"^[0-9a-hjkmnp-tv-z]{4,26}$", description="id, or a unique beginning of it"),
]
Node = Annotated[NodeId, Path(description="id of the node", examples=["nabcdefghijklmnop"])]


class Cancellation(Message):
    """Where to end a run: everywhere, if no node is named."""

    nodes: list[NodeId] = Field(default_factory=list)


_RUNS = {
    "arguments": {
        "value": {"command": {"argv": ["df", "-h"]}, "targets": {"names": ["web1", "web2"]}}
    },
    "shell": {
        "value": {
            "command": {"shell": "ps aux | head", "timeout": 30},
            "targets": {"all": True},
            "note": "who is busy?",
        }
    },
}


class _Made(Message):
    """What of a new run has to be known here."""

    id: Id


@router.post("/runs", summary="Run a command", status_code=202, **relayed(CREATE_RUN, "createRun"))
async def create_run(
    body: Annotated[CreateRun, Body(openapi_examples=_RUNS)],
    me: Me,
    idempotency_key: Annotated[str, Header(max_length=200)] = "",
) -> Response:
    """Accept a command for nodes: from now on it is never lost, and executed at most once.

    The same `Idempotency-Key` from the same person answers with the first run.
    """
    ask = body.model_copy(update={"key": idempotency_key}) if idempotency_key else body
    response = await me.relay(CREATE_RUN, ask, timeout=30)
    response.status_code = 202
    response.headers["Location"] = f"/api/v1/runs/{unpack(_Made, bytes(response.body)).id}"
    return response


@router.get("/runs", summary="List runs", **relayed(LIST_RUNS, "listRuns", basic=True))
async def list_runs(ask: Annotated[ListRuns, Query()], me: Me) -> Response:
    """Answer a page of runs, newest first, without targets."""
    return await me.relay(LIST_RUNS, ask)


@router.get("/runs/{run}", summary="Get a run", **relayed(GET_RUN, "getRun", basic=True))
async def get_run(
    run: RunStart,
    me: Me,
    wait: Annotated[float, Query(ge=0, le=30, description="seconds to wait for its end")] = 0.0,
) -> Response:
    """Answer a run with its targets, at once or when it has ended."""
    return await me.relay(GET_RUN, GetRun(run=run, wait=wait), timeout=wait + 10)


@router.post("/runs/{run}/cancel", summary="Cancel a run", **relayed(CANCEL_RUN, "cancelRun"))
async def cancel_run(run: RunId, me: Me, body: Cancellation | None = None) -> Response:
    """End a run on all its nodes, or on some."""
    return await me.relay(
        CANCEL_RUN, CancelRun(run=run, nodes=body.nodes if body else []), timeout=30
    )


@router.get(
    "/runs/{run}/events", summary="Read events", **relayed(RUN_EVENTS, "listRunEvents", basic=True)
)
async def list_events(
    run: RunId,
    me: Me,
    after: Annotated[int, Query(description="number of the last event known")] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    output: Annotated[bool, Query(description="with pieces of output")] = True,  # noqa: FBT002
) -> Response:
    """Answer what happened in a run after an event, oldest first."""
    ask = RunEventsAfter(run=run, after=after, limit=limit, output=output)
    return await me.relay(RUN_EVENTS, ask)


@router.get(
    "/runs/{run}/output/{node}/{stream}",
    summary="Read output",
    response_class=StreamingResponse,
    responses=downloads.BYTES,
    **declared(READ_OUTPUT, "getOutput", basic=True),
)
async def get_output(
    run: RunId,
    node: Node,
    stream: Stream,
    me: Me,
    offset: Annotated[int, Query(ge=0)] = 0,
    part: Annotated[bool, Query(description="one part only, exactly as it is stored")] = False,  # noqa: FBT002
) -> Response:
    """Answer the stored copy of one output, from `offset` on.

    Without `part`, everything that is stored now; where the cap has cut bytes out, a line says
    how many. With `part=1`, one part: it begins at `Muster-Offset`, a gap before it was cut;
    `Muster-Size` is what the command has written so far; `Muster-End: true` says that nothing
    follows. Go on at `Muster-Offset` + the length of the part.
    """
    ask = ReadOutput(run=run, node=node, stream=stream, offset=offset)
    first = await me.ask(READ_OUTPUT, ask)
    if part:
        return downloads.output_part(first)
    return downloads.output(me, ask, first)


@router.get(
    "/runs/{run}/files/{node}", summary="List files", **relayed(LIST_FILES, "listFiles", basic=True)
)
async def list_files(run: RunId, node: Node, me: Me) -> Response:
    """Answer the result files of one target, as they are on the node."""
    return await me.relay(LIST_FILES, ListFiles(run=run, node=node), timeout=20)


@router.get(
    "/runs/{run}/files/{node}/content",
    summary="Fetch a file",
    response_class=StreamingResponse,
    responses=downloads.BYTES,
    **declared(READ_FILE, "getFile", basic=True),
)
async def get_file(
    run: RunId,
    node: Node,
    me: Me,
    path: Annotated[str, Query(min_length=1, max_length=4096)],
    output: Annotated[bool, Query(description="`path` is stdout or stderr, in full")] = False,  # noqa: FBT002
) -> Response:
    """Answer the content of a file on the node; if it changes meanwhile, the answer breaks off."""
    ask = ReadFile(run=run, node=node, path=path, output=output)
    return downloads.file(me, ask, await me.ask(READ_FILE, ask, timeout=20))
