"""How the host is: CPU, memory, disks, network, temperatures, at one moment.

Rates are over the time since the last reading; counters that went back (a reset, a wrap) count
as zero. Network file systems are left out, because asking a dead one hangs for ever.
"""

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import psutil

from muster.contracts.nodes import DiskIo, DiskUse, Metrics, NetIo, Temperature

_REMOTE: Final = {
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "sshfs",
    "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "davfs", "fuse.davfs", "ncpfs", "lustre",
}  # fmt: skip
_PSEUDO: Final = {
    "autofs", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs",
    "fusectl", "hugetlbfs", "mqueue", "nsfs", "proc", "pstore", "ramfs", "rpc_pipefs",
    "securityfs", "squashfs", "sysfs", "tmpfs", "tracefs", "overlay",
}  # fmt: skip
_MOUNTS_EVERY: Final = 60.0
_CGROUP: Final = Path("/sys/fs/cgroup")


class Meter:
    """Reads the host; keeps the last counters, so that rates can be told."""

    def __init__(self) -> None:
        """Take the first counters."""
        self._at = time.monotonic()
        self._net = psutil.net_io_counters(pernic=True)
        self._disk = _disk_counters()
        self._mounts: list[tuple[str, str, str]] = []
        self._mounts_at = float("-inf")
        psutil.cpu_percent(percpu=True)

    def read(self) -> Metrics:
        """Return how the host is now."""
        now = time.monotonic()
        seconds = max(now - self._at, 0.001)
        self._at = now
        cores = [_percent(value) for value in psutil.cpu_percent(percpu=True)]
        memory, swap = psutil.virtual_memory(), psutil.swap_memory()
        total, used = _memory(memory.total, memory.total - memory.available)
        return Metrics(
            cpu=_percent(sum(cores) / max(len(cores), 1)),
            cores=cores,
            load=os.getloadavg(),
            memory_total=total,
            memory_used=used,
            swap_total=swap.total,
            swap_used=swap.used,
            disks=self._disks(now),
            disk_io=self._disk_io(seconds),
            net=self._net_io(seconds),
            temperatures=_temperatures(),
            processes=_processes(),
            uptime=max(time.time() - psutil.boot_time(), 0.0),
        )

    def _disks(self, now: float) -> list[DiskUse]:
        if now - self._mounts_at > _MOUNTS_EVERY:
            self._mounts, self._mounts_at = _mounts(), now
        found = []
        for device, mount, kind in self._mounts:
            try:
                stat = os.statvfs(mount)
            except OSError:
                continue
            total = stat.f_blocks * stat.f_frsize
            if total:
                used = total - stat.f_bfree * stat.f_frsize
                found.append(
                    DiskUse(
                        mount=_text(mount),
                        device=_text(device),
                        kind=_text(kind),
                        total=total,
                        used=used,
                        free=stat.f_bavail * stat.f_frsize,
                    )
                )
        return found[:256]

    def _disk_io(self, seconds: float) -> list[DiskIo]:
        new, old, self._disk = _disk_counters(), self._disk, {}
        self._disk = new
        return [
            DiskIo(
                device=_text(name),
                read=_rate(old[name].read_bytes, io.read_bytes, seconds),
                written=_rate(old[name].write_bytes, io.write_bytes, seconds),
            )
            for name, io in sorted(new.items())
            if name in old
        ][:256]

    def _net_io(self, seconds: float) -> list[NetIo]:
        new, old = psutil.net_io_counters(pernic=True), self._net
        self._net = new
        return [
            NetIo(
                name=_text(name),
                received=_rate(old[name].bytes_recv, io.bytes_recv, seconds),
                sent=_rate(old[name].bytes_sent, io.bytes_sent, seconds),
            )
            for name, io in sorted(new.items())
            if name in old
        ][:256]


def _percent(value: float) -> float:
    return round(min(max(value, 0.0), 100.0), 1)


def _rate(old: int, new: int, seconds: float) -> float:
    return round(max(new - old, 0) / seconds, 1)


def _text(value: str) -> str:
    """Return a name as valid, bounded text: names on a disk may be any bytes."""
    return value.encode("utf-8", "replace").decode()[:1000]


def _mounts() -> list[tuple[str, str, str]]:
    """Return (device, mount point, kind) of each real local file system, once."""
    seen: set[str] = set()
    found = []
    for part in psutil.disk_partitions(all=True):
        kind = part.fstype
        local = kind not in _REMOTE and kind not in _PSEUDO and not kind.startswith("fuse")
        root = part.mountpoint == "/"  # a container's root may be an overlay: still worth telling
        if not (local or (root and kind == "overlay")) or not os.path.isdir(part.mountpoint):  # noqa: PTH112
            continue
        key = part.device if part.device.startswith("/") else f"{part.device}:{part.mountpoint}"
        if key not in seen:  # a bind mount shows the same device again
            seen.add(key)
            found.append((part.device, part.mountpoint, kind))
    return found


def _disk_counters() -> dict[str, Any]:
    """Return the counters of whole disks that are more than a loop or a RAM disk."""
    counters: dict[str, Any] = psutil.disk_io_counters(perdisk=True) or {}
    blocks = Path("/sys/block")
    whole = {path.name for path in blocks.iterdir()} if blocks.is_dir() else set(counters)
    return {
        name: io
        for name, io in counters.items()
        if name in whole and not name.startswith(("loop", "ram", "zram", "sr"))
    }


def _temperatures() -> list[Temperature]:
    sensors: dict[str, Iterable[Any]] = getattr(psutil, "sensors_temperatures", dict)()
    return [
        Temperature(sensor=_text(f"{chip} {one.label}".strip()), celsius=one.current)
        for chip, found in sorted(sensors.items())
        for one in found
        if one.current is not None and -273 < one.current < 10_000  # noqa: PLR2004
    ][:256]


def _processes() -> int:
    try:
        return sum(name.isdigit() for name in os.listdir("/proc"))  # noqa: PTH208
    except OSError:
        return len(psutil.pids())


def _memory(total: int, used: int) -> tuple[int, int]:
    """Return total and used memory, of the container if it has a limit of its own."""
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        if limit != "max" and 0 < int(limit) < total:
            inactive = dict(
                line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines()
            ).get("inactive_file", "0")
            current = int((_CGROUP / "memory.current").read_text()) - int(inactive)
            return int(limit), min(max(current, 0), int(limit))
    except (OSError, ValueError):
        pass
    return total, min(max(used, 0), total)
