"""The systemd units of an agent: one, or two where a privileged helper carries commands out."""

import os
import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from muster.agent.home import Home
from muster.contracts.errors import Denied

AGENT: Final = "muster-agent.service"
HELPER: Final = "muster-agent-helper.service"
SYSTEM_UNITS: Final = Path("/etc/systemd/system")
USER: Final = "muster-agent"
"""The system user that the part on the network runs as."""

_HEAD: Final = """\
[Unit]
Description={what}
Wants=network-online.target{wants}
After=network-online.target{wants}
StartLimitIntervalSec=0

[Service]
Type=simple
ExecStart={command}
Restart=always
RestartSec=2
TimeoutStopSec=10
UMask=0077
LimitNOFILE=65536
"""
_COMMANDS: Final = """\
# commands outlive the agent: a restart or an upgrade does not end them
KillMode=process
OOMPolicy=continue
TasksMax=infinity
"""
_HARDENED: Final = """\
# this part runs no commands: it needs next to no rights
User={user}
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ReadWritePaths={data}
ProtectHome=read-only
ProtectHostname=yes
ProtectProc=invisible
PrivateTmp=yes
PrivateDevices=yes
PrivateUsers=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
"""
_TAIL: Final = """\

[Install]
WantedBy={target}
"""


class Shape(Enum):
    """How an agent runs."""

    SPLIT = "split"
    """Two units: without rights on the network, and a helper of root."""
    WATCHING = "watching"
    """One unit without rights: it runs no commands."""
    ONE = "one"
    """One process of one named user, commands included."""
    OWN = "own"
    """The same, of the calling user, under its own manager."""


@dataclass(frozen=True, slots=True)
class Units:
    """What is to be written."""

    home: Home
    program: tuple[str, ...]
    shape: Shape
    user: str = USER

    def texts(self) -> dict[str, str]:
        """Return the unit files by their names."""
        found = {AGENT: self._agent()}
        if self.shape is Shape.SPLIT:
            found[HELPER] = self._helper()
        return found

    def _agent(self) -> str:
        words = [*self.program, "run", "--data-dir", str(self.home.root)]
        parts = [_HEAD]
        if self.shape is Shape.SPLIT:
            words += ["--helper", str(self.home.helper.root)]
        if self.shape in {Shape.SPLIT, Shape.WATCHING}:
            parts.append(_HARDENED)
        else:
            parts.append(_COMMANDS)
        if self.shape is Shape.ONE:
            parts.append("User={user}\n")
        return "".join([*parts, _TAIL]).format(
            what="Muster agent: obeys signed commands and tells how this host is",
            wants=f" {HELPER}" if self.shape is Shape.SPLIT else "",
            command=_line(words),
            user=self.user,
            data=_quoted(str(self.home.root)),
            target="default.target" if self.shape is Shape.OWN else "multi-user.target",
        )

    def _helper(self) -> str:
        words = [*self.program, "helper", "--data-dir", str(self.home.helper.root)]
        return f"{_HEAD}{_COMMANDS}{_TAIL}".format(
            what="Muster agent's helper: carries out what the authority has signed",
            wants="",
            command=_line(words),
            target="multi-user.target",
        )

    @property
    def folder(self) -> Path:
        """Where systemd looks for them."""
        if self.shape is not Shape.OWN:
            return SYSTEM_UNITS
        config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
        return Path(config) / "systemd/user"


def _line(words: list[str]) -> str:
    return " ".join(_quoted(word) for word in words)


def _quoted(part: str) -> str:
    if any(char in part for char in "\n\r\0"):
        raise Denied("a path with line breaks cannot stand in a unit file")
    escaped = part.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if escaped != part or " " in part else part


def program() -> tuple[str, ...]:
    """Return how to start this very installation."""
    script = Path(sys.executable).with_name("muster-agent")
    return (str(script),) if script.exists() else (sys.executable, "-P", "-m", "muster.agent")
