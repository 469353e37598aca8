"""A host of its own: another network namespace, behind a cable that can be cut."""

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.system.conftest import Server


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, timeout=10)


@dataclass(frozen=True)
class Site:
    """A network with one host in it, joined to ours by a cable."""

    name: str
    here: str
    there: str

    @property
    def inside(self) -> tuple[str, ...]:
        """The words that run a program there."""
        return ("ip", "netns", "exec", self.name)

    def cable(self, state: str) -> None:
        """Pull the cable (``down``) or put it back (``up``)."""
        _ip("-n", self.name, "link", "set", f"{self.name}b", state)


@pytest.fixture
def site() -> Iterator[Site]:
    """Make a network namespace with a veth pair."""
    number = os.getpid() % 250
    site = Site(f"mst{os.getpid() % 100_000}", f"10.213.{number}.1", f"10.213.{number}.2")
    ours, theirs = f"{site.name}a", f"{site.name}b"
    made = subprocess.run(["ip", "netns", "add", site.name], check=False, capture_output=True)
    if made.returncode:
        pytest.skip(f"no network namespace can be made here: {made.stderr.decode().strip()}")
    try:
        _ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", site.name)
        _ip("addr", "add", f"{site.here}/30", "dev", ours)
        _ip("link", "set", ours, "up")
        _ip("-n", site.name, "addr", "add", f"{site.there}/30", "dev", theirs)
        _ip("-n", site.name, "link", "set", "lo", "up")
        site.cable("up")
        yield site
    finally:
        _ip("netns", "del", site.name)


@pytest.fixture
def far(make_server: Callable[..., Server], site: Site) -> Server:
    """Run a server that listens on the cable."""
    made = make_server(
        "--no-agent", "--no-dashboard", "--listen", site.here, "--address", site.here
    )
    made.start()
    return made
