"""What this host allows, whatever the server orders: the agent has the last word.

Two files may say something, and what one forbids the other cannot allow: ``/etc/muster/agent.toml``
(for all agents of the host) and ``policy.toml`` in the directory of whoever carries commands out
(the privileged helper's, if there is one)::

    run = false               # no commands at all: the agent only watches
    users = ["deploy"]        # as whom commands may run; the first runs what names nobody
    terminal = false          # what follows is for what comes: it can be closed beforehand
    update = false
    services = ["nginx"]      # units that may be controlled; without this line, all
    forward = ["db:5432"]     # where connections may go; without this line, nowhere

    [files.www]               # folders that may be reached
    path = "/var/www"
    user = "www-data"
    mode = "ro"               # ro, append_only, no_delete (the default) or rw

Root runs nothing unless ``users`` says so. Any other user of an agent may always run commands as
itself. A file that cannot be read or understood, or that others may write, allows nothing.
"""

import json
import os
import pwd
import stat
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from muster.agent.home import Home
from muster.contracts.allowed import Allowed, FileRoot
from muster.contracts.errors import Denied, Malformed
from muster.contracts.names import Hostile, Token
from muster.kit.wire import places

HOST_FILE = Path("/etc/muster/agent.toml")
OURS = "# written by `muster-agent`"
MONITOR_ONLY = f"{OURS}: this agent only watches\nrun = false\n"
HOW_TO_ALLOW = 'users = ["root"]'

Names = Annotated[list[Hostile], Field(max_length=1000)]
"""As many, and as long, as an inventory tells."""


class Rules(BaseModel):
    """What one file says; None: nothing is said about it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    run: bool = True
    users: Names | None = None
    terminal: bool = True
    update: bool = True
    services: Names | None = None
    forward: Names | None = None
    files: Annotated[dict[Token, FileRoot], Field(max_length=100)] | None = None


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
        """Return the policy of whoever carries commands out in *home*."""
        return cls([HOST_FILE, home.policy])

    @property
    def runs(self) -> bool:
        """Whether commands are allowed at all."""
        self._look()
        return not self.trouble and all(rules.run for rules in self._rules)

    def users(self) -> list[str]:
        """Return as whom commands may run, the first when nobody is named."""
        self._look()
        said = [rules.users for rules in self._rules if rules.users is not None]
        listed = [one for one in (said[0] if said else []) if all(one in users for users in said)]
        own = own_name()
        if os.geteuid() == 0:
            return listed
        return [own, *(one for one in listed if one != own)]

    def user(self, run_as: str) -> str:
        """Return as whom a command runs that names *run_as*, or nobody; raise `Denied` if not."""
        if not self.runs:
            raise Denied(self.trouble or "this host does not run commands (its local policy)")
        users = self.users()
        if not run_as and not users:
            raise Denied(
                "this host runs no commands, because its local policy names no user for them: "
                f"write {HOW_TO_ALLOW} (or others) into {self.files[-1]} there"
            )
        user = run_as or users[0]
        if user not in users:
            raise Denied(f"this host does not run commands as {user} (its local policy)")
        if os.geteuid() != 0 and user != own_name():
            raise Denied(f"the agent runs as {own_name()} and cannot become {user}")
        return user

    def shown(self, *, helper: bool) -> Allowed:
        """Return what is allowed, for the inventory."""
        runs = self.runs
        if self.trouble:
            return Allowed(run=False, terminal=False, update=False, services=[], helper=helper)
        return Allowed(
            run=runs,
            users=self.users() if runs else [],
            terminal=all(rules.terminal for rules in self._rules),
            update=all(rules.update for rules in self._rules),
            services=_common([rules.services for rules in self._rules]),
            forward=_common([rules.forward for rules in self._rules]) or [],
            files=_roots([rules.files for rules in self._rules]),
            helper=helper,
        )

    def _look(self) -> None:
        stamp = tuple(_stamp(path) for path in self.files)
        if stamp == self._stamp:
            return
        self._rules, self.trouble = [], ""
        for path in self.files:
            try:
                self._rules.append(Rules.model_validate(tomllib.loads(_guarded(path))))
            except FileNotFoundError:
                continue
            except ValidationError as error:
                self.trouble = f"{path} is not a policy: {places(error)}"
            except (OSError, ValueError) as error:
                self.trouble = f"{path} cannot be read: {error}"
        self._stamp = stamp


def allowing(users: str) -> str:
    """Return a policy that lets commands run as *users* (names between commas)."""
    names = [one.strip() for one in users.split(",") if one.strip()]
    for name in names:
        try:
            pwd.getpwnam(name)
        except KeyError as error:
            raise Malformed(f"there is no user {name} on this host") from error
    listed = ", ".join(json.dumps(name) for name in names)
    return f"{OURS}: as whom commands may run\nusers = [{listed}]\n"


def own_name() -> str:
    """Return the user that this process is; in a container it need not have a name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _guarded(path: Path) -> str:
    """Return what a file says that nobody else may write."""
    with path.open() as file:
        found = os.fstat(file.fileno())
        if found.st_uid not in {0, os.geteuid()} or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ValueError("others may write it: chown root and chmod 644")
        return file.read()


def _common(said: Sequence[list[str] | None]) -> list[str] | None:
    """Return what all lists have; None if there is none."""
    lists = [one for one in said if one is not None]
    return [one for one in lists[0] if all(one in other for other in lists)] if lists else None


def _roots(said: Sequence[dict[str, FileRoot] | None]) -> dict[str, FileRoot]:
    """Return the roots that all files name alike."""
    tables = [one for one in said if one is not None]
    first = tables[0] if tables else {}
    return {name: root for name, root in first.items() if all(t.get(name) == root for t in tables)}


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
