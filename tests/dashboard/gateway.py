"""A gateway for tests: the REST of the contracts, over a fleet that is made up.

The list is in the order of the names until somebody calls `shuffle`: then it has another order,
and some nodes have come and some have gone.
"""

import asyncio
import math
import random
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from muster.contracts.approvals import Approval, Approvals, ApprovalState
from muster.contracts.authority import AuditPage, AuditRecord, AuditVerdict, JoinToken, JoinTokens
from muster.contracts.base import Message
from muster.contracts.names import new_id
from muster.contracts.nodes import (
    Address,
    DiskIo,
    DiskUse,
    FleetStats,
    History,
    Inventory,
    Metrics,
    NetIo,
    Node,
    NodePage,
    NodeState,
    Sample,
)
from muster.contracts.runs import (
    Command,
    Piece,
    ResultFile,
    ResultFiles,
    RunEvent,
    RunEvents,
    RunPage,
    RunView,
    State,
    Stream,
    TargetView,
)
from muster.kit.testing import free_port
from tests.dashboard.directory import Directory

NASTY = "[x](javascript:alert(1)) <img src=x onerror=alert(1)> :red[y] \x1b[31m \u202eevil"
"""What a hostile node says of itself."""
GB = 1 << 30


def node_id(number: int) -> str:
    """Return the id of the node with a number."""
    letters = "abcdefghijklmnopqrstuvwxyz234567"
    tail = "".join(letters[(number >> (5 * place)) & 31] for place in range(4))
    return f"n{'muster' * 2}{tail}"


@dataclass
class FakeGateway:
    """A fleet, runs, tokens and an audit; what was asked of it is remembered."""

    nodes: int = 30
    told_ids: list[str] = field(default_factory=list)
    """The list as it is told now."""
    names: dict[str, str] = field(default_factory=dict)
    dice: random.Random = field(default_factory=lambda: random.Random(11))
    port: int = field(default_factory=free_port)
    started: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    looks: int = 0
    """How many times the list was told."""
    runs: dict[str, RunView] = field(default_factory=dict)
    lines: dict[str, bytes] = field(default_factory=dict)
    """Standard output by node."""
    decided: list[tuple[str, str]] = field(default_factory=list)
    sessions: set[str] = field(default_factory=lambda: {"x"})
    permissions: list[str] = field(default_factory=lambda: ["*"])
    team: Directory = field(default_factory=Directory)
    away: bool = False

    def __post_init__(self) -> None:
        """Make the nodes."""
        roles = ("web", "db", "cache", "build", "edge")
        self.names = {
            node_id(i): f"{roles[i % len(roles)]}-{i:04d}" for i in range(self.nodes)
        } | self.names
        self.told_ids = sorted(self.names, key=self.names.__getitem__)

    def shuffle(self) -> None:
        """Tell another order from now on, with other nodes in it."""
        ids = list(self.names)
        self.dice.shuffle(ids)
        self.told_ids = ids[: self.dice.randint(len(ids) * 2 // 3, len(ids))]

    def node(self, id_: str, *, brief: bool = False) -> Node:
        """Return one node."""
        number = list(self.names).index(id_)
        online = number % 11 != 7
        now = datetime.now(UTC)
        return Node(
            id=id_,
            name=self.names[id_],
            state=NodeState.REVOKED
            if id_ in self.revoked
            else NodeState.ONLINE
            if online
            else NodeState.OFFLINE,
            groups=[self.names[id_].split("-")[0]],
            tags={"site": ("mac", "lab")[number % 2]},
            joined=now - timedelta(days=9),
            state_since=now - timedelta(hours=3),
            seen=now - timedelta(seconds=number % 9 if online else 5000),
            reason="" if online else "stale connection",
            version="0.1.0",
            trouble=NASTY if number == 3 else "",
            inventory=Inventory(
                hostname=f"{self.names[id_]}.example",
                os="Debian GNU/Linux 12 (bookworm)",
                kernel="6.1.0-28-amd64",
                architecture="x86_64",
                cpu="AMD EPYC 7763 64-Core Processor",
                cores=8,
                memory=32 * GB,
                addresses=[]
                if brief
                else [Address(interface="eth0", address=f"10.0.{number // 250}.{number % 250}")],
                timezone="Asia/Shanghai",
                user="root",
                capabilities=["run", "files"],
            ),
            metrics=self.metrics(number, time.time(), brief=brief),
        )

    def nodes_now(self) -> list[Node]:
        """Return the list as it is told now."""
        return [self.node(id_, brief=True) for id_ in self.told_ids]

    @staticmethod
    def metrics(number: int, at: float, *, brief: bool = False) -> Metrics:
        """Return how a node is at one moment."""
        wave = 0.5 + 0.5 * math.sin(at / 300 + number)
        busy = 4 + 80 * wave * ((number * 37) % 10) / 10
        return Metrics(
            cpu=round(busy, 1),
            load=(round(busy / 20, 2), round(busy / 25, 2), round(busy / 30, 2)),
            memory_total=32 * GB,
            memory_used=int((8 + (number * 13) % 20 + 2 * wave) * GB),
            disks=[
                DiskUse(mount="/", total=200 * GB, used=(20 + number * 7 % 170) * GB, kind="ext4"),
                DiskUse(mount="/data", total=2000 * GB, used=900 * GB, kind="xfs"),
            ],
            disk_io=[] if brief else [DiskIo(device="nvme0n1", read=3e6 * wave, written=1e6)],
            net=[] if brief else [NetIo(name="eth0", received=2e6 * wave, sent=8e5 * (1 - wave))],
            processes=180 + number % 40,
            uptime=86400.0 * 12,
        )

    def view(self, run: str) -> RunView:
        """Return a run as it is now."""
        return self.runs[run]

    def add_run(self, command: Command, targets: list[TargetView], **more: Any) -> RunView:
        """Keep a run."""
        now = datetime.now(UTC)
        counts: dict[State, int] = {}
        for target in targets:
            counts[target.state] = counts.get(target.state, 0) + 1
        over = all(target.state.final for target in targets)
        run = RunView(
            id=new_id(),
            command=command,
            created=now - timedelta(minutes=2),
            by="admin",
            expires=now + timedelta(hours=1),
            finished=now if over else None,
            counts=counts,
            targets=targets,
            **more,
        )
        self.runs[run.id] = run
        return run

    @contextmanager
    def serving(self) -> Generator[str]:
        """Serve in a thread; yields the URL."""
        config = uvicorn.Config(app(self), port=self.port, log_level="error", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
        thread.start()
        end = time.monotonic() + 30
        while not server.started and time.monotonic() < end:
            time.sleep(0.02)
        try:
            yield f"http://127.0.0.1:{self.port}"
        finally:
            server.should_exit = True
            thread.join(timeout=10)


def told(message: Message, status: int = 200) -> Response:
    """Return a message as the gateway does."""
    return Response(message.model_dump_json(), status, media_type="application/json")


def problem(status: int, code: str, detail: str) -> Response:
    """Return a refusal as the gateway does."""
    body = {"title": code, "status": status, "detail": detail, "code": code}
    return JSONResponse(body, status, media_type="application/problem+json")


class Rest:
    """The routes."""

    def __init__(self, fake: FakeGateway) -> None:
        """Answer from *fake*."""
        self.fake = fake

    async def me(self, _request: Request) -> Response:
        """Say who asks."""
        who = {"name": "admin", "roles": ["admin"], "permissions": self.fake.permissions}
        return JSONResponse(who)

    async def stats(self, _request: Request) -> Response:
        """Count."""
        states = [self.fake.node(id_).state for id_ in list(self.fake.names)[:50]]
        count = len(self.fake.names)
        away = count * states.count(NodeState.OFFLINE) // max(len(states), 1)
        return told(FleetStats(nodes=count, online=count - away, offline=away, new=0, revoked=0))

    async def nodes(self, request: Request) -> Response:
        """List, in order of the names, or in none."""
        fake, query = self.fake, request.query_params
        fake.looks += 1
        items = fake.nodes_now()
        items = [node for node in items if query.get("query", "") in node.name]
        if "state" in query:
            items = [node for node in items if node.state == query["state"]]
        begin = int(query.get("cursor", "0"))
        end = begin + int(query.get("limit", "100"))
        more = str(end) if end < len(items) else ""
        return told(NodePage(items=items[begin:end], next=more))

    async def node(self, request: Request) -> Response:
        """Find one."""
        id_ = request.path_params["id"]
        if id_ not in self.fake.told_ids:
            return problem(404, "not_found", f"no node {id_}")
        return told(self.fake.node(id_))

    async def revoke(self, request: Request) -> Response:
        """Shut one out."""
        self.fake.revoked.append(request.path_params["id"])
        return Response(status_code=204)

    async def metrics(self, request: Request) -> Response:
        """Tell the last hour, with a silence in it."""
        number = list(self.fake.names).index(request.path_params["id"])
        now = time.time()
        items = [
            Sample(at=datetime.fromtimestamp(at, UTC), metrics=self.fake.metrics(number, at))
            for at in (now - 3600 + 10 * step for step in range(360))
            if not now - 1500 < at < now - 1100
        ]
        return told(History(node=request.path_params["id"], items=items))

    async def start(self, request: Request) -> Response:
        """Take a run and remember its targets."""
        body = await request.json()
        self.fake.started.append(body)
        self.fake.keys.append(request.headers.get("idempotency-key", ""))
        names = body["targets"]["names"]
        targets = [
            TargetView(node=id_, name=self.fake.names[id_], state=State.ACCEPTED) for id_ in names
        ]
        return told(self.fake.add_run(Command(**body["command"]), targets), 202)

    async def list_runs(self, _request: Request) -> Response:
        """List runs, newest first."""
        runs = sorted(self.fake.runs.values(), key=lambda run: run.id, reverse=True)
        return told(RunPage(items=[run.model_copy(update={"targets": []}) for run in runs]))

    async def run(self, request: Request) -> Response:
        """Tell of one run."""
        run = self.fake.runs.get(request.path_params["run"])
        return told(run) if run else problem(404, "not_found", "no such run")

    async def events(self, request: Request) -> Response:
        """Tell what is new: one line for each node that still runs."""
        run = self.fake.runs[request.path_params["run"]]
        after = int(request.query_params.get("after", "0"))
        items = []
        for target in run.targets:
            if not target.state.final:
                line = f"line {after}\n".encode()
                piece = Piece(stream=Stream.OUT, offset=target.stdout, data=line)
                after += 1
                items.append(RunEvent(run=run.id, seq=after, target=target, pieces=[piece]))
        return told(RunEvents(items=items, seq=after))

    async def output(self, request: Request) -> Response:
        """Tell stored output."""
        path = request.path_params
        data = self.fake.lines.get(path["node"], b"") if path["stream"] == "stdout" else b"oops\n"
        offset = int(request.query_params.get("offset", "0"))
        headers = {"muster-offset": str(offset), "muster-end": "true"}
        return Response(data[offset:], headers=headers)

    async def files(self, _request: Request) -> Response:
        """List result files."""
        now = datetime.now(UTC)
        items = [ResultFile(path="report/a b.txt", size=1234, modified=now)]
        return told(ResultFiles(items=items))

    async def tokens(self, request: Request) -> Response:
        """List tokens, or make one."""
        now = datetime.now(UTC)
        if request.method == "POST":
            body = {"id": new_id(), "secret": "s", "expires": (now + timedelta(0, 900)).isoformat()}
            line = "muster1." + "eyJ1IjoiaHR0cHM6Ly9tdXN0ZXIuZXhhbXBsZSJ9" * 2
            return JSONResponse(body | {"line": line, "command": f"muster agent join {line}"}, 201)
        expires = now + timedelta(minutes=9)
        token = JoinToken(
            id=new_id(), created=now, created_by="admin", expires=expires, note="rack 4"
        )
        used = token.model_copy(update={"used": now, "node": node_id(2), "note": ""})
        return told(JoinTokens(items=[token, used]))

    async def approvals(self, _request: Request) -> Response:
        """List what waits: of another person, and of one's own."""
        now = datetime.now(UTC)
        items = [
            Approval(
                run=by[0].rjust(26, "0"), by=by, summary=summary, nodes=["web1", "web2"],
                created=now, expires=now + timedelta(hours=1), state=ApprovalState.PENDING,
            )
            for by, summary in (("tech", "reboot"), ("admin", "uptime"))
        ]  # fmt: skip
        return told(Approvals(items=items))

    async def decide(self, request: Request) -> Response:
        """Remember what was decided."""
        self.fake.decided.append((request.path_params["verb"], (await request.json())["reason"]))
        return Response(status_code=204)

    async def audit(self, _request: Request) -> Response:
        """List the audit."""
        now = datetime.now(UTC)
        actions = ("session.login", "run.create", "node.rename", "token.create")
        items = [
            AuditRecord(
                seq=90 - i, at=now - timedelta(minutes=7 * i), who="admin", action=actions[i % 4],
                nodes=[node_id(i)], result="ok", detail="uname -a" if i % 4 == 1 else "",
                address="127.0.0.1", hash="0" * 64,
            )
            for i in range(40)
        ]  # fmt: skip
        return told(AuditPage(items=items))

    async def verify(self, _request: Request) -> Response:
        """Say that the audit is whole."""
        return told(AuditVerdict(records=90, head="ab" * 32))


def app(fake: FakeGateway) -> Any:
    """Return the application; without a known session it refuses everything."""
    rest = Rest(fake)
    api = "/api/v1"
    inner = Starlette(
        routes=[
            Route(f"{api}/me", rest.me),
            Route(f"{api}/fleet/stats", rest.stats),
            Route(f"{api}/nodes", rest.nodes),
            Route(f"{api}/nodes/{{id}}", rest.node),
            Route(f"{api}/nodes/{{id}}/metrics", rest.metrics),
            Route(f"{api}/nodes/{{id}}/revoke", rest.revoke, methods=["POST"]),
            Route(f"{api}/runs", rest.start, methods=["POST"]),
            Route(f"{api}/runs", rest.list_runs),
            Route(f"{api}/runs/{{run}}", rest.run),
            Route(f"{api}/runs/{{run}}/events", rest.events),
            Route(f"{api}/runs/{{run}}/output/{{node}}/{{stream}}", rest.output),
            Route(f"{api}/runs/{{run}}/files/{{node}}", rest.files),
            Route(f"{api}/join-tokens", rest.tokens, methods=["GET", "POST"]),
            Route(f"{api}/approvals", rest.approvals),
            Route(f"{api}/approvals/{{run}}/{{verb}}", rest.decide, methods=["POST"]),
            *fake.team.routes(api),
            Route(f"{api}/audit", rest.audit),
            Route(f"{api}/audit/verify", rest.verify),
        ]
    )

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope)
        fake.asked.append(f"{request.method} {request.url.path}")
        if fake.away:
            answer = problem(503, "unavailable", "the registry does not answer")
            await answer(scope, receive, send)
        elif request.cookies.get("muster") not in fake.sessions:
            await problem(401, "unauthenticated", "log in first")(scope, receive, send)
        else:
            await inner(scope, receive, send)

    return guarded
