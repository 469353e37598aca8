"""Run the dashboard: ``python -m muster.dashboard``."""

import os

import uvicorn

from muster.dashboard.app import create
from muster.dashboard.settings import settings
from muster.kit import logs


def main() -> None:
    """Serve until the process is told to end."""
    found = settings()
    logs.setup("info", "console")
    common = {"access_log": False, "server_header": False, "timeout_graceful_shutdown": 2}
    if found.listen.startswith("unix:"):
        os.umask(0o077)  # the socket is for the gateway alone
        place: dict[str, object] = {"uds": found.listen.removeprefix("unix:")}
    else:
        host, _, port = found.listen.rpartition(":")
        place = {"host": host, "port": int(port)}
    uvicorn.run(create(), log_config=None, **common, **place)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
