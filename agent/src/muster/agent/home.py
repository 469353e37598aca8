"""Where an agent keeps what it has: one private directory."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from muster.contracts.errors import NotFound
from muster.kit.files import write_private

BOOT = Path("/proc/sys/kernel/random/boot_id")


def default_dir(env: Mapping[str, str], *, root: bool) -> Path:
    """Return the data directory for whom nobody has named another."""
    if named := env.get("MUSTER_AGENT_DATA_DIR"):
        return Path(named)
    if root:
        return Path("/var/lib/muster-agent")
    state = env.get("XDG_STATE_HOME") or Path(env.get("HOME") or "~").expanduser() / ".local/state"
    return Path(state) / "muster-agent"


def boot_id() -> str:
    """Return the kernel's boot id: another one means that every process of before is gone."""
    return BOOT.read_text().strip()


@dataclass(frozen=True, slots=True)
class Home:
    """The data directory of one agent."""

    root: Path

    @property
    def identity(self) -> Path:
        """Who this node is: secret."""
        return self.root / "identity.json"

    @property
    def journal(self) -> Path:
        """What has been ordered and done."""
        return self.root / "journal.db"

    @property
    def jobs(self) -> Path:
        """One directory per run."""
        return self.root / "jobs"

    @property
    def lock(self) -> Path:
        """Held by the one agent that runs on this identity."""
        return self.root / "agent.lock"

    @property
    def status(self) -> Path:
        """How the running agent is, for people."""
        return self.root / "status.json"

    @property
    def policy(self) -> Path:
        """What this host allows; see `policy`."""
        return self.root / "policy.toml"

    @property
    def trust(self) -> Path:
        """Whom a privileged helper believes; see `privileged`."""
        return self.root / "trust.json"

    @property
    def socket(self) -> Path:
        """Where a privileged helper listens."""
        return self.root / "helper.sock"

    @property
    def helper(self) -> "Home":
        """The directory of the privileged helper that belongs to this agent."""
        return Home(self.root.with_name(f"{self.root.name}-helper"))

    @property
    def settings(self) -> Path:
        """The section ``[agent]`` of settings."""
        return self.root / "agent.toml"

    def make(self) -> None:
        """Make the directories, for their owner alone; `open_ways` may have let others through."""
        for folder in (self.root, self.jobs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(folder.stat().st_mode & 0o711)

    def open_ways(self) -> None:
        """Let others pass to what is theirs in the directories of jobs, and see nothing else."""
        for folder in (self.root, self.jobs):
            folder.chmod(0o711)

    def check(self) -> None:
        """Raise `NotFound` if no agent has joined here."""
        if not self.identity.exists():
            raise NotFound(f"no agent has joined in {self.root}: muster-agent join <token>")

    def write(self, path: Path, text: str) -> None:
        """Write one of its files, whole or not at all."""
        write_private(path, text)


def absolute(path: Path) -> Path:
    """Return *path* from the root on, without following links."""
    return Path(os.path.abspath(path))  # noqa: PTH100  # resolve() would follow links
