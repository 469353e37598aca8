"""Run the dashboard: ``python -m muster.dashboard``."""

import os
from typing import Any

import uvicorn

from muster.dashboard.app import create
from muster.dashboard.settings import UNIX, settings
from muster.kit import logs


def main() -> None:
    """Serve until the process is told to end."""
    listen = settings().listen
    logs.setup("info", "console")
    if listen.startswith(UNIX):
        os.umask(0o077)  # the socket is for the gateway alone
        place: dict[str, Any] = {"uds": listen.removeprefix(UNIX)}
    else:
        host, _, port = listen.rpartition(":")
        place = {"host": host.strip("[]"), "port": int(port)}
    uvicorn.run(
        create(),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
        **place,
    )


if __name__ == "__main__":
    main()
