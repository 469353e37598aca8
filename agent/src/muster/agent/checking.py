"""`muster-agent doctor`: what an agent needs, looked at one by one, each with what to do."""

import os
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from muster.agent.home import Home
from muster.agent.identity import Identity
from muster.agent.policy import Policy, own_name
from muster.agent.settings import Settings
from muster.agent.trusting import ADVICE
from muster.agent.units import HELPER
from muster.contracts.errors import Conflict, MusterError, Unavailable
from muster.kit.files import locked

_TIMEOUT = 5.0
_EARLIEST = 1_700_000_000.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look has found."""

    what: str
    ok: bool
    text: str


def examine(home: Home, settings: Settings) -> list[Finding]:
    """Look at everything."""
    looks: list[tuple[str, Callable[[Home, Settings], str]]] = [
        ("identity", _identity),
        ("credentials", _credentials),
        ("clock", _clock),
        ("disk", _disk),
        ("journal", _journal),
        ("policy", _policy),
        ("helper", _helper),
        ("server", _server),
        ("agent", _agent),
    ]
    findings = []
    for what, look in looks:
        try:
            findings.append(Finding(what, ok=True, text=look(home, settings)))
        except (MusterError, OSError, ValueError) as error:
            findings.append(Finding(what, ok=False, text=str(error)))
    return findings


def _identity(home: Home, _settings: Settings) -> str:
    identity = Identity.load(home)
    mode = home.identity.stat().st_mode & 0o777
    if mode & 0o077:
        raise Conflict(f"others can read {home.identity}: chmod 600 it")
    return f"node {identity.node}"


def _credentials(home: Home, _settings: Settings) -> str:
    due = Identity.load(home).renew_in(time.time())
    if due == 0:
        raise Conflict("they are old: start the agent soon, or leave and join again")
    return "for ever" if due is None else f"to be renewed in {due / 3600:.1f} h"


def _clock(_home: Home, _settings: Settings) -> str:
    now = time.time()
    if now < _EARLIEST:
        raise Conflict("the clock is years behind: every command would look wrong; set it")
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))


def _disk(home: Home, settings: Settings) -> str:
    disk = os.statvfs(home.root)
    free, total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    least = max(settings.min_free, int(total * settings.min_free_percent / 100))
    if free < least:
        raise Conflict(f"{free >> 20} MiB are free, {least >> 20} MiB must be: make room")
    return f"{free >> 20} MiB are free"


def _journal(home: Home, _settings: Settings) -> str:
    if not os.access(home.root, os.W_OK | os.X_OK):
        raise Conflict(f"{home.root} cannot be written by this user")
    if home.journal.exists() and not os.access(home.journal, os.R_OK | os.W_OK):
        raise Conflict(f"{home.journal} cannot be written by this user")
    return "can be written"


def _policy(home: Home, _settings: Settings) -> str:
    if home.helper.trust.exists() and os.geteuid() != 0:
        return f"is the helper's, in {home.helper.root}"
    policy = Policy.of(home.helper if home.helper.trust.exists() else home)
    runs = policy.runs
    if policy.trouble:
        raise Conflict(policy.trouble)
    if not runs:
        return "this agent only watches"
    policy.user("")
    return f"commands may run as {', '.join(policy.users())}"


def _helper(home: Home, _settings: Settings) -> str:
    helper = home.helper
    if not helper.root.exists():
        whom = f"one process of {own_name()}" if os.geteuid() else "one process of root"
        return f"none: network and commands are {whom}"
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(_TIMEOUT)
        try:
            line.connect(str(helper.socket))
        except OSError as error:
            raise Unavailable(f"{helper.socket}: {error.strerror}: start {HELPER}") from error
    return f"answers in {helper.root}"


def _server(home: Home, _settings: Settings) -> str:
    identity = Identity.load(home)
    reasons = []
    for url in identity.urls:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 4222
        try:
            _greet(host, port, identity.tls)
        except ssl.SSLCertVerificationError as error:
            reasons.append(f"{url}: {error.verify_message}: {ADVICE}")
        except OSError as error:
            reasons.append(f"{url}: {error}")
        else:
            return f"{url} answers"
    raise Unavailable("; ".join(reasons) or "no address is known")


def _greet(host: str, port: int, tls: ssl.SSLContext | None) -> None:
    """Connect, and read the broker's first words."""
    with socket.create_connection((host, port), timeout=_TIMEOUT) as plain:
        line = tls.wrap_socket(plain, server_hostname=host) if tls else plain
        try:
            if not line.recv(5).startswith(b"INFO"):
                raise OSError("something answers, but it is no broker")
        finally:
            line.close()


def _agent(home: Home, _settings: Settings) -> str:
    try:
        with locked(home.lock):
            return "is not running"
    except Unavailable:
        return f"runs with pid {home.lock.read_text().strip()}"
