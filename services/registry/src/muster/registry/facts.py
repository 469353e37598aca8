"""What selectors may ask of a node, from what we know of it."""

from collections.abc import Callable, Collection, Iterable
from typing import Final

from muster.contracts.nodes import DiskUse, Inventory, Metrics
from muster.kit.selectors import Fact, Facts
from muster.registry.entry import Entry

_OF_HOST: Final[dict[str, Callable[[Inventory], Fact]]] = {
    "hostname": lambda host: host.hostname,
    "os": lambda host: host.os,
    "os.family": lambda host: host.os_family,
    "kernel": lambda host: host.kernel,
    "arch": lambda host: host.architecture,
    "cores": lambda host: host.cores,
    "memory": lambda host: host.memory,
    "address": lambda host: [one.address for one in host.addresses],
    "timezone": lambda host: host.timezone,
    "user": lambda host: host.user,
    "agent": lambda host: host.agent,
    "capability": lambda host: host.capabilities,
}

_OF_MOMENT: Final[dict[str, Callable[[Metrics], Fact]]] = {
    "cpu": lambda now: now.cpu,
    "load": lambda now: now.load[0],
    "processes": lambda now: now.processes,
    "memory.used": lambda now: now.memory_used,
    "memory.used%": lambda now: _share(now.memory_used, now.memory_total),
    "memory.free": lambda now: now.memory_total - now.memory_used,
    "memory.free%": lambda now: _share(now.memory_total - now.memory_used, now.memory_total),
    "swap.used": lambda now: now.swap_used,
    "swap.used%": lambda now: _share(now.swap_used, now.swap_total),
    "disk.used": lambda now: [disk.used for disk in now.disks],
    "disk.used%": lambda now: _shares((disk, disk.used) for disk in now.disks),
    "disk.free": lambda now: [_free(disk) for disk in now.disks],
    "disk.free%": lambda now: _shares((disk, _free(disk)) for disk in now.disks),
    "uptime": lambda now: now.uptime,
}


def facts_of(entry: Entry, asked: Collection[str], now: float) -> Facts:
    """Return what is known of a node; of what it tells of itself only what is *asked* for.

    *now* is Unix time in seconds.
    """
    more: dict[str, Fact] = {}
    for name in asked:
        for key in (name, f"{name}%"):
            if entry.inventory and (of_host := _OF_HOST.get(key)):
                more[key] = of_host(entry.inventory)
            if entry.metrics and (of_moment := _OF_MOMENT.get(key)):
                more[key] = of_moment(entry.metrics)
    if "state" in asked:
        more["state"] = entry.state.value
    if "seen" in asked and entry.seen:
        more["seen"] = now - entry.seen.timestamp()
    return Facts(entry.id, entry.name, entry.groups, entry.tags, more)


def grounds(entry: Entry) -> Facts:
    """Return what grants may go by: nothing that the node tells of itself."""
    return Facts(entry.id, entry.name, entry.groups, entry.tags)


def _share(part: float, whole: float) -> Fact:
    return 100.0 * part / whole if whole else ()


def _free(disk: DiskUse) -> int:
    return disk.total - disk.used if disk.free is None else disk.free


def _shares(disks: Iterable[tuple[DiskUse, float]]) -> Fact:
    return [100.0 * part / disk.total for disk, part in disks if disk.total]
