"""The systemd unit that keeps an agent running, for root, for another user, or for oneself."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from muster.agent.home import Home
from muster.agent.policy import MONITOR_ONLY
from muster.contracts.errors import Conflict, Denied, Unavailable

NAME: Final = "muster-agent.service"
SYSTEM_UNITS: Final = Path("/etc/systemd/system")

_HEAD: Final = """\
[Unit]
Description=Muster agent: obeys signed commands and tells how this host is
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=simple
ExecStart={program} run --data-dir {data}
Restart=always
RestartSec=2
TimeoutStopSec=10
# commands outlive the agent: a restart or an upgrade does not end them
KillMode=process
OOMPolicy=continue
TasksMax=infinity
LimitNOFILE=65536
UMask=0077
"""
_MONITOR: Final = """\
# this agent runs no commands: it needs next to no rights
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ReadWritePaths={data}
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
"""
_TAIL: Final = """\

[Install]
WantedBy={target}
"""


@dataclass(frozen=True, slots=True)
class Unit:
    """What the unit is to be."""

    data: Path
    program: tuple[str, ...]
    user: str = ""
    monitor_only: bool = False
    own: bool = False
    """A unit of the calling user, not of the system."""

    def text(self) -> str:
        """Return the unit file."""
        values = {
            "program": " ".join(_quoted(part) for part in self.program),
            "data": _quoted(str(self.data)),
            "target": "default.target" if self.own else "multi-user.target",
        }
        parts = [_HEAD]
        if self.user and not self.own:
            parts.append("User={user}\n")
            values["user"] = self.user
        if self.monitor_only and not self.own:
            parts.append(_MONITOR)
        return "".join([*parts, _TAIL]).format(**values)

    @property
    def path(self) -> Path:
        """Where systemd looks for it."""
        if not self.own:
            return SYSTEM_UNITS / NAME
        config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
        return Path(config) / "systemd/user" / NAME


def _quoted(part: str) -> str:
    if any(char in part for char in "\n\r\0"):
        raise Denied("a path with line breaks cannot stand in a unit file")
    escaped = part.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if escaped != part or " " in part else part


def program() -> tuple[str, ...]:
    """Return how to start this very installation."""
    script = Path(sys.executable).with_name("muster-agent")
    return (str(script),) if script.exists() else (sys.executable, "-P", "-m", "muster.agent")


def install(unit: Unit, home: Home) -> list[str]:
    """Write the unit, enable and start it; return what was done, for people."""
    home.check()
    done = []
    if unit.monitor_only:
        if home.policy.exists() and home.policy.read_text() != MONITOR_ONLY:
            raise Conflict(f"{home.policy} is there already: write run = false into it yourself")
        home.write(home.policy, MONITOR_ONLY)
        done.append(f"wrote {home.policy}: this agent runs no commands")
    if unit.user and not unit.own:
        _give(home.root, unit.user)
        done.append(f"gave {home.root} to {unit.user}")
    try:
        unit.path.parent.mkdir(parents=True, exist_ok=True)
        unit.path.write_text(unit.text())
    except OSError as error:
        raise Denied(f"{unit.path} cannot be written: {error.strerror}") from error
    done.append(f"wrote {unit.path}")
    for words in (["daemon-reload"], ["enable", "--now", NAME]):
        _systemctl([*(["--user"] if unit.own else []), *words])
    done.append(f"enabled and started {NAME}")
    return done


def _give(folder: Path, user: str) -> None:
    try:
        for path in (folder, *folder.rglob("*")):
            if not path.is_symlink():
                shutil.chown(path, user)
    except (OSError, LookupError) as error:
        raise Denied(f"{folder} cannot be given to {user}: {error}") from error


def _systemctl(words: list[str]) -> None:
    command = ["systemctl", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        raise Unavailable(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
