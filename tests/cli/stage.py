"""A server that plays a gateway from a script: what each test wants the command line to meet."""

import asyncio
import base64
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

RUN = "01jd3v7q3k8x5f0c9r2m4n6p8s"
NOW = "2026-01-02T03:04:05Z"
LATER = "2099-01-02T03:04:05Z"
TOKEN = "the-token"  # noqa: S105
FINAL = {"done", "failed", "timed_out", "cancelled", "expired", "refused", "interrupted", "lost"}


def node_id(number: int) -> str:
    """Return the id of a node."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return "n" + "a" * 13 + "".join(letters[(number // 26**place) % 26] for place in (2, 1, 0))


def node(number: int, name: str = "", **more: Any) -> dict[str, Any]:
    """Return a node as the API tells it."""
    disks = [
        {"mount": "/", "device": "", "kind": "ext4", "total": 100, "used": 40},
        {"mount": "/var", "device": "", "kind": "ext4", "total": 100, "used": 93},
    ]
    metrics = {
        "cpu": 12.5,
        "load": [0.42, 0.3, 0.2],
        "memory_total": 1000,
        "memory_used": 640,
        "disks": disks,
        "uptime": 93784.0,
    }
    known = {
        "id": node_id(number),
        "name": name or f"web{number}",
        "state": "online",
        "groups": ["web"],
        "tags": {"env": "prod"},
        "joined": NOW,
        "state_since": NOW,
        "seen": NOW,
        "version": "0.1.0",
        "trouble": "",
        "inventory": {"hostname": name or f"web{number}", "os": "Debian 12"},
        "metrics": metrics,
    }
    return known | more


def piece(data: bytes, offset: int = 0, stream: str = "stdout") -> dict[str, Any]:
    """Return a piece of output."""
    return {"stream": stream, "offset": offset, "data": base64.urlsafe_b64encode(data).decode()}


@dataclass
class Play:
    """One run: its targets and the events that happen, each after a pause."""

    names: list[str]
    script: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    finished: str | None = None
    created: dict[str, Any] = field(default_factory=dict)
    key: str = ""
    cancelled: list[dict[str, Any]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def happens(
        self, name: str, state: str, *pieces: dict[str, Any], after: float = 0.0, **more: Any
    ) -> None:
        """Let something happen to a target *after* so many seconds."""
        sizes = {
            stream: max(
                [
                    p["offset"] + len(base64.urlsafe_b64decode(p["data"]))
                    for p in self._all(name, pieces)
                    if p["stream"] == stream
                ],
                default=0,
            )
            for stream in ("stdout", "stderr")
        }
        target = {"node": self.id_of(name), "name": name, "state": state, **sizes}
        if state in FINAL:
            target |= {"started": NOW, "finished": NOW, "exit": 0 if state == "done" else None}
        self.script.append((after, {"target": target | more, "pieces": list(pieces)}))

    def _all(self, name: str, pieces: tuple[dict[str, Any], ...]) -> list[dict[str, Any]]:
        earlier = [p for _, e in self.script if e["target"]["name"] == name for p in e["pieces"]]
        return [*earlier, *pieces]

    def id_of(self, name: str) -> str:
        """Return the id of the node called *name*."""
        return node_id(self.names.index(name))

    def play(self, _: float, event: dict[str, Any]) -> None:
        """Let the next thing happen."""
        event = {"run": RUN, "seq": len(self.events) + 1, **event}
        self.events.append(event)
        states = {e["target"]["name"]: e["target"]["state"] for e in self.events}
        if set(states) == set(self.names) and set(states.values()) <= FINAL:
            self.finished = event["finished"] = NOW
        self.changed.set()
        self.changed = asyncio.Event()

    @property
    def view(self) -> dict[str, Any]:
        """The run as the API tells it."""
        targets: dict[str, dict[str, Any]] = {
            name: {
                "node": self.id_of(name),
                "name": name,
                "state": "accepted",
                "stdout": 0,
                "stderr": 0,
            }
            for name in self.names
        }
        for event in self.events:
            targets[event["target"]["name"]] = event["target"]
        counts: dict[str, int] = {}
        for target in targets.values():
            counts[target["state"]] = counts.get(target["state"], 0) + 1
        return {
            "id": RUN,
            "command": self.created.get("command", {"argv": ["true"]}),
            "note": self.created.get("note", ""),
            "created": NOW,
            "by": "admin",
            "expires": LATER,
            "finished": self.finished,
            "counts": counts,
            "targets": list(targets.values()),
            "seq": len(self.events),
        }


class Stage:
    """What the server knows, and what it was asked."""

    def __init__(self) -> None:
        """Begin with two nodes and no run."""
        self.nodes = [node(0), node(1)]
        self.run: Play | None = None
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        self.sockets = True
        self.break_after = 0
        """Events after which a WebSocket is cut; 0: never."""
        self.opened = 0
        self.files: dict[str, Any] = {"items": [], "outputs": [], "truncated": False}
        self.contents: dict[str, bytes] = {}
        self.cut_downloads = False
        self.audit: list[dict[str, Any]] = []
        self.verdict: dict[str, Any] = {"records": 3, "head": "ab" * 32, "broken_at": None}
        self.url = ""
        self.away_until = 0.0
        """On the monotonic clock: until then a service behind the gateway is missing."""

    def starts(self, *names: str) -> Play:
        """Prepare what the next run does."""
        self.run = Play(list(names))
        return self.run

    def app(self) -> Starlette:
        """Return the server."""
        api = "/api/v1"
        routes = [
            Route(f"{api}/me", self._me),
            Route(f"{api}/nodes", self._list),
            Route(f"{api}/nodes/resolve", self._resolve, methods=["POST"]),
            Route(f"{api}/nodes/{{name}}", self._node, methods=["GET", "PATCH"]),
            Route(f"{api}/nodes/{{name}}/{{verb}}", self._change, methods=["POST"]),
            Route(f"{api}/join-tokens", self._tokens, methods=["GET", "POST"]),
            Route(f"{api}/join-tokens/{{id}}", self._tokens, methods=["DELETE"]),
            Route(f"{api}/runs", self._runs, methods=["GET", "POST"]),
            Route(f"{api}/runs/{{run}}", self._run),
            Route(f"{api}/runs/{{run}}/cancel", self._cancel, methods=["POST"]),
            Route(f"{api}/runs/{{run}}/events", self._events),
            Route(f"{api}/runs/{{run}}/files/{{node}}", self._files),
            Route(f"{api}/runs/{{run}}/files/{{node}}/content", self._content),
            Route(f"{api}/audit", self._audit),
            Route(f"{api}/audit/verify", self._verify),
            WebSocketRoute(f"{api}/events", self._socket),
        ]
        return Starlette(routes=routes)

    async def _note(self, request: Request) -> Any:
        text = await request.body()
        body = await request.json() if text else None
        query = dict(request.query_params)
        self.asked.append((request.method, request.url.path.removeprefix("/api/v1"), query, body))
        return body

    @staticmethod
    def _stranger(request: Request) -> Response | None:
        if request.headers.get("authorization") == f"Bearer {TOKEN}":
            return None
        return problem(401, "unauthenticated", "log in")

    async def _me(self, request: Request) -> Response:
        told = {"name": "admin", "roles": ["owner"], "permissions": ["*"]}
        return self._stranger(request) or JSONResponse(told)

    async def _list(self, request: Request) -> Response:
        await self._note(request)
        query = request.query_params
        found = [one for one in self.nodes if query.get("query", "") in one["name"]]
        start = int(query.get("cursor") or 0)
        limit = min(int(query.get("limit", 100)), 400)
        page = found[start : start + limit]
        more = str(start + limit) if start + limit < len(found) else ""
        return self._stranger(request) or JSONResponse({"items": page, "next": more})

    async def _resolve(self, request: Request) -> Response:
        await self._note(request)
        return JSONResponse(
            {"items": [{"id": one["id"], "name": one["name"]} for one in self.nodes]}
        )

    async def _node(self, request: Request) -> Response:
        body = await self._note(request)
        name = request.path_params["name"]
        for one in self.nodes:
            if name in {one["id"], one["name"]}:
                return JSONResponse(one | (body or {}))
        return problem(404, "not_found", f"there is no node {name}")

    async def _change(self, request: Request) -> Response:
        body = await self._note(request)
        if request.path_params["verb"] == "revoke":
            return Response(status_code=204)
        put = {"tags": body.get("put", {}), "groups": body.get("add", [])}
        return JSONResponse(self.nodes[0] | put)

    async def _tokens(self, request: Request) -> Response:
        await self._note(request)
        if request.method == "DELETE":
            return Response(status_code=204)
        token = {"id": RUN, "created": NOW, "created_by": "admin", "expires": LATER}
        if request.method == "GET":
            return JSONResponse({"items": [token]})
        line = "muster1.abc"
        return JSONResponse(
            {**token, "secret": "s", "line": line, "command": f"muster agent join {line}"}, 201
        )

    async def _runs(self, request: Request) -> Response:
        body = await self._note(request)
        if refused := self._stranger(request):
            return refused
        if request.method == "GET":
            return JSONResponse({"items": [self.run.view] if self.run else [], "next": ""})
        if self.run is None:
            return problem(404, "not_found", "there is no node like that")
        self.run.created = body
        self.run.key = request.headers.get("idempotency-key", "")
        for number, name in enumerate(self.run.names):
            if not any(one["name"] == name for one in self.nodes):
                self.nodes.append(node(number, name))
        view = self.run.view
        while self.run.script and self.run.script[0][0] == 0:
            self.run.play(*self.run.script.pop(0))
        if self.run.script:
            self._acting = asyncio.ensure_future(self._act(self.run))
        return JSONResponse(view, 202)

    @staticmethod
    async def _act(run: Play) -> None:
        while run.script:
            pause, event = run.script.pop(0)
            await asyncio.sleep(pause)
            run.play(pause, event)

    def _found(self, request: Request) -> Play | None:
        wanted = request.path_params["run"]
        return self.run if self.run and RUN.startswith(wanted) else None

    async def _run(self, request: Request) -> Response:
        await self._note(request)
        run = self._found(request)
        if time.monotonic() < self.away_until:
            return problem(503, "unavailable", "the scheduler does not answer")
        if run is None:
            return problem(404, "not_found", "there is no such run")
        give_up = time.monotonic() + float(request.query_params.get("wait") or 0)
        while run.finished is None and (left := give_up - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(left):
                    await run.changed.wait()
            except TimeoutError:
                break
        return JSONResponse(run.view)

    async def _cancel(self, request: Request) -> Response:
        assert self.run
        self.run.cancelled.append(await self._note(request))
        return JSONResponse(self.run.view)

    async def _events(self, request: Request) -> Response:
        await self._note(request)
        run = self._found(request)
        if time.monotonic() < self.away_until:
            return problem(503, "unavailable", "the scheduler does not answer")
        assert run
        after, limit = int(request.query_params.get("after", 0)), 3
        items = [event for event in run.events if event["seq"] > after]
        more = len(items) > limit
        items = items[:limit]
        seq = items[-1]["seq"] if more else len(run.events)
        return JSONResponse({"items": items, "seq": seq, "more": more})

    async def _files(self, request: Request) -> Response:
        await self._note(request)
        return JSONResponse(self.files)

    async def _content(self, request: Request) -> Response:
        await self._note(request)
        data = self.contents.get(request.query_params["path"])
        if data is None:
            return problem(404, "not_found", "there is no such file")

        async def body() -> Any:
            yield data[: len(data) // 2]
            if self.cut_downloads:
                raise ConnectionResetError
            yield data[len(data) // 2 :]

        return StreamingResponse(body(), headers={"Content-Length": str(len(data))})

    async def _audit(self, request: Request) -> Response:
        await self._note(request)
        return JSONResponse({"items": self.audit, "next": None})

    async def _verify(self, request: Request) -> Response:
        del request
        return JSONResponse(self.verdict)

    async def _socket(self, socket: WebSocket) -> None:
        self.opened += 1
        if (
            not self.sockets
            or time.monotonic() < self.away_until
            or socket.headers.get("authorization") != f"Bearer {TOKEN}"
        ):
            await socket.close()
            return
        await socket.accept()
        wish = await socket.receive_json()
        run, after = self.run, int(wish.get("after", 0))
        assert run
        told = 0
        try:
            while True:
                waiting = run.changed
                for event in run.events[after:]:
                    if self.break_after and told == self.break_after:
                        await socket.close(1013)
                        return
                    await socket.send_json({"topic": wish["subscribe"], "event": event})
                    told, after = told + 1, event["seq"]
                await waiting.wait()
        except (WebSocketDisconnect, RuntimeError):
            return


def problem(status: int, code: str, detail: str) -> Response:
    """Return an error as the gateway tells it."""
    document = {
        "type": f"urn:muster:error:{code}",
        "status": status,
        "detail": detail,
        "code": code,
    }
    return JSONResponse(document, status, media_type="application/problem+json")


@contextmanager
def playing(stage: Stage) -> Iterator[str]:
    """Serve *stage* in a thread of its own."""
    config = uvicorn.Config(
        stage.app(),
        port=0,
        log_level="critical",
        ws="websockets-sansio",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    stage.url = f"http://127.0.0.1:{port}"
    try:
        yield stage.url
    finally:
        server.should_exit = True
        thread.join(15)
