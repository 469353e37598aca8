"""A small dashboard: an ASGI server on a Unix socket or a port, with a WebSocket."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket


async def echo(request: Request) -> Response:
    """Tell what has arrived."""
    body = await request.body()
    told = {
        "method": request.method,
        "path": request.scope["raw_path"].decode(),
        "query": request.url.query,
        "headers": dict(request.headers),
        "size": len(body),
    }
    headers = {"Content-Security-Policy": "none of ours", "X-Own": "kept", "Connection": "close"}
    response = JSONResponse(told, headers=headers)
    response.set_cookie("_streamlit_xsrf", "x")
    response.set_cookie("second", "y")
    return response


async def stream(request: Request) -> Response:
    """Send a part, wait, send another."""
    del request

    async def parts() -> AsyncGenerator[bytes]:
        yield b"first"
        await asyncio.sleep(0.5)
        yield b"second"

    return StreamingResponse(parts())


async def socket(websocket: WebSocket) -> None:
    """Greet with what has arrived, then echo."""
    await websocket.accept("streamlit")
    await websocket.send_json(dict(websocket.headers))
    async for message in websocket.iter_text():
        if message == "bytes":
            await websocket.send_bytes(bytes(range(256)) * 8192)
        elif message == "bye":
            await websocket.close(4321, "bye")
        else:
            await websocket.send_text(message)


class _Quiet(uvicorn.Server):
    async def serve(self, sockets: Any = None) -> None:
        await self._serve(sockets)


@asynccontextmanager
async def dashboard(path: Path | None = None, port: int = 0) -> AsyncGenerator[None]:
    """Serve on the Unix socket *path*, or on *port*."""
    app = Starlette(
        routes=[
            Route("/dashboard/stream", stream),
            Route("/dashboard/{rest:path}", echo, methods=["GET", "POST", "PUT", "DELETE"]),
            WebSocketRoute("/dashboard/{rest:path}", socket),
        ]
    )
    where: dict[str, Any] = {"uds": str(path)} if path else {"host": "127.0.0.1", "port": port}
    config = uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1, **where)
    server = _Quiet(config)
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            yield
        finally:
            server.should_exit = True
