"""The peer: OpenSSH with warm multiplexed connections to an sshd of our own on loopback."""

import getpass
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from muster.kit.testing import free_port


@dataclass
class Ssh:
    """Open master connections; each stands for a host."""

    home: Path
    port: int

    def argv(self, number: int) -> list[str]:
        """Return the command that speaks over master *number*."""
        return [
            "ssh", "-F", str(self.home / "config"), "-S", str(self.home / f"m{number}"),
            "-p", str(self.port), f"{getpass.getuser()}@127.0.0.1",
        ]  # fmt: skip

    def open(self, count: int) -> None:
        """Open *count* masters."""
        for number in range(count):
            subprocess.run(
                [*self.argv(number)[:-1], "-M", "-N", "-f", self.argv(number)[-1]], check=True
            )

    def close(self, count: int) -> None:
        """Close them."""
        for number in range(count):
            argv = self.argv(number)
            subprocess.run([*argv[:-1], "-O", "exit", argv[-1]], check=False, capture_output=True)

    def run(self, count: int) -> float:
        """Run ``true`` over *count* masters at once; return the seconds to the last end."""
        began = time.perf_counter()
        running = [subprocess.Popen([*self.argv(number), "true"]) for number in range(count)]
        codes = [process.wait() for process in running]
        seconds = time.perf_counter() - began
        if any(codes):
            raise RuntimeError(f"ssh failed: {codes}")
        return seconds


@contextmanager
def serving() -> Generator[Ssh]:
    """Run an sshd that lets only our own fresh key in.

    ``SHLVL=2`` keeps bash from reading the user's ``.bashrc`` for each command, which would make
    ssh look slow on a developer's machine.
    """
    with tempfile.TemporaryDirectory(prefix="muster-ssh-") as folder:
        home, port = Path(folder), free_port()
        for name in ("host", "user"):
            keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / name)]
            subprocess.run(keygen, check=True)
        (home / "keys").write_text((home / "user.pub").read_text())
        (home / "sshd").write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {home}/host\n"
            f"AuthorizedKeysFile {home}/keys\nStrictModes no\nUsePAM no\n"
            "PasswordAuthentication no\nPermitRootLogin yes\nSetEnv SHLVL=2\n"
            "MaxStartups 200\nPidFile none\n"
        )
        (home / "config").write_text(
            f"Host *\n IdentityFile {home}/user\n StrictHostKeyChecking no\n"
            f" UserKnownHostsFile {home}/known\n LogLevel ERROR\n ControlPersist yes\n"
        )
        Path("/run/sshd").mkdir(exist_ok=True)
        argv = ["/usr/sbin/sshd", "-D", "-e", "-f", str(home / "sshd")]
        daemon = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
        try:
            time.sleep(0.5)
            yield Ssh(home, port)
        finally:
            daemon.terminate()
            daemon.wait(timeout=10)
