"""What the host is: told at the start and whenever it changes."""

import getpass
import os
import platform
import socket
from pathlib import Path

import psutil

from muster.contracts.allowed import Allowed
from muster.contracts.nodes import Address, Inventory

_SKIP = {"lo"}


def take(version: str, allowed: Allowed) -> Inventory:
    """Return what this host is."""
    release = _os_release()
    return Inventory(
        hostname=_text(socket.gethostname()),
        os=_text(release.get("PRETTY_NAME") or f"{platform.system()} {platform.release()}"),
        os_family=_text(_family(release)),
        kernel=_text(f"{platform.system()} {platform.release()}"),
        architecture=_text(platform.machine()),
        cpu=_text(_cpu()),
        cores=os.cpu_count() or 0,
        memory=psutil.virtual_memory().total,
        addresses=_addresses(),
        timezone=_text(_timezone()),
        user=_text(_user()),
        python=platform.python_version(),
        agent=version,
        capabilities=["run", "read"] if allowed.run else ["read"],
        allowed=allowed,
    )


def _text(value: str) -> str:
    return value.encode("utf-8", "replace").decode()[:1000]


def _os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _family(release: dict[str, str]) -> str:
    """Return the root of the distribution's family: Ubuntu is ``debian``, Rocky is ``rhel``."""
    like = release.get("ID_LIKE", "").split()
    own = release.get("ID") or platform.system().lower()
    for family in ("debian", "rhel", "suse", "arch", "alpine"):
        if family in (own, *like) or (family == "rhel" and "fedora" in (own, *like)):
            return family
    return own


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith(("model name", "Model", "Hardware")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def _addresses() -> list[Address]:
    found = []
    for name, addresses in sorted(psutil.net_if_addrs().items()):
        if name in _SKIP:
            continue
        mac = next((one.address for one in addresses if one.family == psutil.AF_LINK), "")
        found += [
            Address(interface=_text(name), address=one.address.partition("%")[0], mac=mac)
            for one in addresses
            if one.family in {socket.AF_INET, socket.AF_INET6}
        ]
    return found[:512]


def _timezone() -> str:
    """Return the IANA name of the host's time zone, if it can be told."""
    if named := os.environ.get("TZ"):
        return named.lstrip(":")
    try:
        target = str(Path("/etc/localtime").resolve())
        if "zoneinfo/" in target:
            return target.partition("zoneinfo/")[2]
        return Path("/etc/timezone").read_text().strip()
    except OSError:
        return "UTC"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
