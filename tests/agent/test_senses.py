"""What an agent says of its host is so, and a strange host does not stop it."""

import getpass
import os
import platform
import shutil
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from muster.agent import inventory, metrics
from muster.agent.metrics import Meter
from muster.contracts.allowed import Allowed
from muster.contracts.nodes import Inventory, Metrics
from muster.kit import wire


def _kilobytes(name: str) -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)


def test_memory_is_what_the_kernel_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Used is what is not available; within 2 per cent of all memory."""
    monkeypatch.setattr(metrics, "_CGROUP", Path("/nowhere"))
    read = Meter().read()
    total = _kilobytes("MemTotal")
    assert read.memory_total == total
    assert read.memory_used == pytest.approx(total - _kilobytes("MemAvailable"), abs=total * 0.02)
    assert read.swap_total == _kilobytes("SwapTotal")


def test_disks_are_what_df_says() -> None:
    """Size and use of each, within 2 per cent; there is at least the root."""
    found = Meter().read().disks
    assert found
    for disk in found:
        usage = shutil.disk_usage(disk.mount)
        assert disk.total == pytest.approx(usage.total, rel=0.02)
        assert disk.used == pytest.approx(usage.used, abs=usage.total * 0.02)
    assert len({disk.mount for disk in found}) == len(found)


def test_load_time_and_processes_are_what_proc_says() -> None:
    """As anybody on the host would see them."""
    read = Meter().read()
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    assert read.uptime == pytest.approx(uptime, rel=0.02, abs=5)
    count = sum(name.isdigit() for name in os.listdir("/proc"))  # noqa: PTH208
    assert read.processes == pytest.approx(count, abs=max(20, count * 0.2))
    said = [float(one) for one in Path("/proc/loadavg").read_text().split()[:3]]
    assert read.load == pytest.approx(said, abs=1)


def test_a_busy_core_is_seen() -> None:
    """The reading is of the time since the last one, for all cores and for each."""
    meter = Meter()
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        sum(range(1000))
    read = meter.read()
    assert max(read.cores) > 30
    assert len(read.cores) == psutil.cpu_count()
    assert read.cpu == pytest.approx(sum(read.cores) / len(read.cores), abs=0.2)


def test_a_reading_travels() -> None:
    """It fits its contract, comes back the same, and is small enough for every heartbeat."""
    read = Meter().read()
    packed = wire.pack(read)
    assert wire.unpack(Metrics, packed) == read
    assert len(packed) < 100_000


def test_two_readings_at_the_same_moment_do_no_harm() -> None:
    """No division by nothing."""
    meter = Meter()
    for _ in range(5):
        meter.read()


def _net(received: int, sent: int) -> Any:
    return SimpleNamespace(bytes_recv=received, bytes_sent=sent)


def test_traffic_is_told_by_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counters that go back count as nothing; new interfaces wait for their second reading."""
    now, nets = [100.0], [{"eth0": _net(1000, 5000), "gone": _net(1, 1)}]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(psutil, "net_io_counters", lambda **_: nets[0])
    meter = Meter()
    now[0], nets[0] = 110.0, {"eth0": _net(2000, 4000), "new\udcff": _net(9, 9)}
    [first] = meter.read().net
    assert (first.name, first.received, first.sent) == ("eth0", 100.0, 0.0)
    now[0], nets[0] = 120.0, {"eth0": _net(2000, 4100), "new\udcff": _net(19, 9)}
    second = {one.name: (one.received, one.sent) for one in meter.read().net}
    assert second == {"eth0": (0.0, 10.0), "new?": (1.0, 0.0)}


def test_disk_traffic_that_goes_back_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that was exchanged under the same name does not write minus a terabyte."""
    io = [SimpleNamespace(read_bytes=10**12, write_bytes=10**12)]
    monkeypatch.setattr(metrics, "_disk_counters", lambda: {"sda": io[0]})
    meter = Meter()
    io[0] = SimpleNamespace(read_bytes=0, write_bytes=5)
    [first] = meter.read().disk_io
    assert (first.read, first.written) == (0.0, 0.0)


def _part(mount: str, kind: str = "ext4", device: str = "") -> Any:
    return SimpleNamespace(mountpoint=mount, fstype=kind, device=device or f"/dev/{kind}{mount}")


def test_hostile_names_of_mounts_are_told_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that are no text, control characters, very long names: valid, bounded, readable."""
    names = [os.fsdecode(b"\xff\xfe"), "a\nb\x1b[2J", "漢字", *("x" * 250,)]
    deep = tmp_path.joinpath(*["y" * 200] * 8)
    mounts = [tmp_path / name for name in names] + [deep]
    for mount in mounts:
        mount.mkdir(parents=True)
    parts = [_part(str(mount)) for mount in mounts]
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: parts)
    read = Meter().read()
    assert len(read.disks) == len(mounts)
    assert all(len(disk.mount) <= 1000 and len(disk.device) <= 1000 for disk in read.disks)
    assert wire.unpack(Metrics, wire.pack(read)) == read


def test_remote_and_unreal_file_systems_are_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking a dead NFS server hangs for ever: nobody looks there at all."""
    remote = ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "fuse.rclone", "9p", "ceph", "lustre"]
    unreal = ["proc", "sysfs", "tmpfs", "devtmpfs", "squashfs", "overlay", "cgroup2"]
    parts = [_part(f"/dead/{kind}", kind) for kind in (*remote, *unreal)]
    parts += [_part(str(tmp_path), "xfs"), _part("/", "overlay", "overlay")]
    touched: list[str] = []
    isdir, statvfs = os.path.isdir, os.statvfs

    def watched(path: str) -> Any:
        touched.append(path)
        return isdir(path)

    def measured(path: str) -> Any:
        touched.append(path)
        return statvfs(path)

    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: parts)
    monkeypatch.setattr(os.path, "isdir", watched)
    monkeypatch.setattr(os, "statvfs", measured)
    found = {disk.mount for disk in Meter().read().disks}
    assert found == {str(tmp_path), "/"}
    assert not [path for path in touched if path.startswith("/dead")]


def test_a_bind_mount_is_no_second_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same device at two places is told once; one that goes away is left out."""
    (tmp_path / "again").mkdir()
    gone = tmp_path / "gone"
    gone.mkdir()
    parts = [
        _part(str(tmp_path), "ext4", "/dev/sda1"),
        _part(str(tmp_path / "again"), "ext4", "/dev/sda1"),
    ]
    parts.append(_part(str(gone), "ext4", "/dev/sdb1"))
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: parts)
    meter = Meter()
    assert len(meter.read().disks) == 2
    gone.rmdir()
    assert [disk.mount for disk in meter.read().disks] == [str(tmp_path)]


def test_a_container_tells_its_own_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of its control group, and what it uses of it without what can be dropped."""
    monkeypatch.setattr(metrics, "_CGROUP", tmp_path)
    megabyte = 1024 * 1024
    (tmp_path / "memory.max").write_text(f"{64 * megabyte}\n")
    (tmp_path / "memory.current").write_text(f"{48 * megabyte}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {16 * megabyte}\n")
    read = Meter().read()
    assert (read.memory_total, read.memory_used) == (64 * megabyte, 32 * megabyte)
    for damaged in ("max\n", "rubbish", f"{10**18}", ""):
        (tmp_path / "memory.max").write_text(damaged)
        assert Meter().read().memory_total == _kilobytes("MemTotal")


def test_temperatures_that_cannot_be_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken sensor does not cost a heartbeat."""
    values = (40.5, None, -300.0, 1e9, float("nan"), float("inf"))
    sensors = {"chip\0": [SimpleNamespace(label="", current=one) for one in values]}
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: sensors, raising=False)
    read = Meter().read()
    assert [one.celsius for one in read.temperatures] == [40.5]


def test_what_a_host_is() -> None:
    """As the host says itself; it fits its contract."""
    told = inventory.take("1.2", Allowed(users=["deploy"]))
    assert told.hostname == socket.gethostname()
    assert told.kernel.endswith(os.uname().release)
    assert told.architecture == os.uname().machine
    assert told.cores == os.cpu_count()
    assert told.memory == _kilobytes("MemTotal")
    assert (told.agent, told.capabilities) == ("1.2", ["run", "read"])
    assert told.os
    assert told.timezone
    assert told.user
    assert wire.unpack(Inventory, wire.pack(told)) == told
    assert told == inventory.take("1.2", Allowed(users=["deploy"]))


def test_a_strange_host_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file of its release, no user, names that are no text, very many addresses."""

    def nothing(*_: object, **__: object) -> Any:
        raise OSError

    family = SimpleNamespace
    addresses = [family(family=socket.AF_INET6, address=f"fe80::{n:x}%eth0") for n in range(900)]
    monkeypatch.setattr(platform, "freedesktop_os_release", nothing)
    monkeypatch.setattr(getpass, "getuser", nothing)
    monkeypatch.setattr(socket, "gethostname", lambda: "h\udcff" + "x" * 2000)
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: {"e\udcff": addresses, "lo": addresses})
    monkeypatch.setenv("TZ", "\udcff" * 3)
    told = inventory.take("1", Allowed(run=False))
    assert told.hostname.startswith("h?")
    assert len(told.addresses) == 512
    assert {one.interface for one in told.addresses} == {"e?"}
    assert told.addresses[1].address == "fe80::1"
    assert told.user == str(os.getuid())
    assert wire.unpack(Inventory, wire.pack(told)) == told


@pytest.mark.parametrize(
    ("release", "family"),
    [
        ({"ID": "ubuntu", "ID_LIKE": "debian"}, "debian"),
        ({"ID": "debian"}, "debian"),
        ({"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, "rhel"),
        ({"ID": "fedora"}, "rhel"),
        ({"ID": "opensuse-leap", "ID_LIKE": "suse opensuse"}, "suse"),
        ({"ID": "alpine"}, "alpine"),
        ({"ID": "nixos"}, "nixos"),
    ],
)
def test_the_family_of_a_system(
    monkeypatch: pytest.MonkeyPatch, release: dict[str, str], family: str
) -> None:
    """By which people choose hosts: the root, not the branch."""
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: release)
    assert inventory.take("1", Allowed(run=False)).os_family == family
