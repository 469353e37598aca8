"""Where everything lies in a data directory."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muster.kit.files import private_dir, write_private

SERVICES = ("authority", "registry", "scheduler", "gateway")
"""In the order in which they start."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one server."""

    root: Path

    @property
    def lock(self) -> Path:
        """Held by the running server."""
        return self.root / "muster.lock"

    @property
    def state(self) -> Path:
        """What runs, and where."""
        return self.root / "up.json"

    @property
    def settings(self) -> Path:
        """The operator's settings."""
        return self.root / "muster.toml"

    @property
    def context(self) -> Path:
        """The local administrator's way in."""
        return self.root / "context.json"

    @property
    def first_login(self) -> Path:
        """Name and one-time password, until it has been changed."""
        return self.root / "first-login.json"

    @property
    def local_token(self) -> Path:
        """The local administrator's API token."""
        return self.root / "keys" / "local.token"

    @property
    def nats(self) -> Path:
        """The broker's files."""
        return self.root / "nats"

    @property
    def logs(self) -> Path:
        """Log files, one per part."""
        return self.root / "logs"

    @property
    def tls(self) -> Path:
        """The server's own authorities and its certificate."""
        return self.root / "tls"

    @property
    def agent(self) -> Path:
        """The local agent's own data directory."""
        return self.root / "agent"

    @property
    def dashboard(self) -> Path:
        """The dashboard's socket."""
        return self.root / "dashboard.sock"

    def create(self) -> None:
        """Make the directories, for the owner alone."""
        for path in (self.root, self.nats, self.logs, self.root / "keys", self.root / "creds"):
            private_dir(path)


def read_state(layout: Layout) -> dict[str, Any] | None:
    """Return what the running server has written down, or None if none runs."""
    try:
        state: dict[str, Any] = json.loads(layout.state.read_text())
        os.kill(int(state["pid"]), 0)
    except (OSError, ValueError, KeyError):
        return None
    return state


def write_state(layout: Layout, state: dict[str, Any]) -> None:
    """Write down what runs."""
    write_private(layout.state, json.dumps(state, indent=1))
