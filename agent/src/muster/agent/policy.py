"""What this host allows, whatever the server orders: the agent has the last word.

Two files may say something, and what one forbids the other cannot allow: ``/etc/muster/agent.toml``
(for all agents of the host) and ``policy.toml`` in the agent's own directory::

    run = false             # no commands at all: the agent only watches
    users = ["deploy"]      # as whom, besides the agent's own user, commands may run

A file that cannot be read or understood allows nothing.
"""

import os
import pwd
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from muster.agent.home import Home
from muster.contracts.errors import Denied
from muster.kit.wire import places

HOST_FILE = Path("/etc/muster/agent.toml")
MONITOR_ONLY = "# written by `muster-agent`: this agent only watches\nrun = false\n"


class Rules(BaseModel):
    """What one file says."""

    model_config = ConfigDict(extra="forbid", strict=True)

    run: bool = True
    users: list[str] | None = None
    """None: nothing is said about it."""


@dataclass(slots=True)
class Policy:
    """The files together, read again when they change."""

    files: Sequence[Path]
    trouble: str = ""
    """Why nothing is allowed at the moment."""
    _stamp: tuple[object, ...] = ()
    _rules: list[Rules] = field(default_factory=list)

    @classmethod
    def of(cls, home: Home) -> "Policy":
        """Return the policy of the agent in *home*."""
        return cls([HOST_FILE, home.policy])

    @property
    def runs(self) -> bool:
        """Whether commands are allowed at all."""
        self._look()
        return not self.trouble and all(rules.run for rules in self._rules)

    def check(self, run_as: str) -> None:
        """Raise `Denied` unless a command may run as *run_as* (empty: as the agent's user)."""
        if not self.runs:
            raise Denied(self.trouble or "this host does not run commands (its local policy)")
        own = pwd.getpwuid(os.geteuid()).pw_name
        if run_as in {"", own}:
            return
        said = [rules.users for rules in self._rules if rules.users is not None]
        if not said or any(run_as not in users for users in said):
            raise Denied(f"this host does not run commands as {run_as} (its local policy)")
        if os.geteuid() != 0:
            raise Denied(f"the agent runs as {own} and cannot become {run_as}")

    def _look(self) -> None:
        stamp = tuple(_stamp(path) for path in self.files)
        if stamp == self._stamp:
            return
        self._rules, self.trouble = [], ""
        for path in self.files:
            try:
                self._rules.append(Rules.model_validate(tomllib.loads(path.read_text())))
            except FileNotFoundError:
                continue
            except ValidationError as error:
                self.trouble = f"{path} is not a policy: {places(error)}"
            except (OSError, ValueError) as error:
                self.trouble = f"{path} cannot be read: {error}"
        self._stamp = stamp


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
