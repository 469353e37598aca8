"""`muster up` and the commands that look after it, as a user meets them."""

import json
import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.system.conftest import Server, until


def test_the_first_start_tells_the_way_in(server: Server) -> None:
    """URL, name and one-time password, once; how to go on; and how to stop."""
    login = json.loads((server.data_dir / "first-login.json").read_text())
    for text in (server.url, login["name"], login["password"], "muster node token", "muster down"):
        assert text in server.screen


def test_everything_secret_is_private(server: Server) -> None:
    """Directories 0700, files 0600, whatever the umask."""
    wide = [
        path
        for path in [server.data_dir, *server.data_dir.rglob("*")]
        if stat.S_IMODE(path.lstat().st_mode) & 0o077
        and not path.is_symlink()
        and "nats/" not in str(path.relative_to(server.data_dir.parent))
        and not stat.S_ISSOCK(path.lstat().st_mode)
    ]
    assert wide == []
    assert stat.S_IMODE((server.data_dir / "nats").stat().st_mode) == 0o700


def test_a_second_server_on_one_directory_is_refused(server: Server) -> None:
    """It says who is there and how to end it, and harms nothing."""
    again = server.muster("up", "--data-dir", str(server.data_dir), "--no-agent", "--no-dashboard")
    assert again.returncode == 1
    assert str(server.state()["pid"]) in again.stderr
    assert "muster down" in again.stderr
    assert server.api("GET", "/me")["name"] == "admin"


def test_status_doctor_config_and_logs_speak(server: Server) -> None:
    """The commands that look after a server work without a login."""
    status = json.loads(server.muster("status", "-o", "json").stdout)
    assert status["ready"] is True
    assert status["url"] == server.url
    findings = json.loads(server.muster("doctor", "-o", "json").stdout)
    assert {one["verdict"] for one in findings} <= {"ok", "warning"}
    rows = json.loads(server.muster("config", "show", "-o", "json").stdout)
    assert {"server.port", "registry.history_hours"} <= {row["name"] for row in rows}
    assert "gateway" in server.muster("logs", "-n", "5").stdout
    assert server.muster("logs", "nonsense").returncode == 1


def test_down_ends_it_and_the_next_start_knows_everything(server: Server) -> None:
    """Exit 0 within seconds, nothing left running; ports, keys and password stay."""
    before = server.api("GET", "/audit")["items"]
    url = server.url
    began = time.monotonic()
    assert server.muster("down").returncode == 0
    assert time.monotonic() - began < 10
    assert server.process
    assert server.process.wait(timeout=5) == 0
    assert server.muster("status").returncode == 12
    assert server.muster("run", "--all", "--", "true").returncode == 12
    server.start()
    assert server.url == url
    after = server.api("GET", "/audit")["items"]
    assert [one["hash"] for one in after[-len(before) :]] == [one["hash"] for one in before]
    assert server.api("GET", "/audit/verify")["broken_at"] is None


def test_a_killed_server_leaves_no_broker_behind(server: Server) -> None:
    """kill -9 of `muster up`: nats-server goes with it, and the next start works."""
    pid = int((server.data_dir / "nats" / "nats.pid").read_text())
    assert server.process
    server.process.kill()
    server.process.wait()

    def gone() -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]

    until(gone, 10, "the broker ends")
    server.start()
    assert server.api("GET", "/me")["name"] == "admin"


def test_a_killed_broker_is_started_again(server: Server) -> None:
    """kill -9 of nats-server: it is back in seconds, and the services with it."""
    pid = int((server.data_dir / "nats" / "nats.pid").read_text())
    os.kill(pid, signal.SIGKILL)

    def back() -> bool:
        status = server.muster("status", "-o", "json")
        now = int((server.data_dir / "nats" / "nats.pid").read_text())
        return now != pid and bool(json.loads(status.stdout)["ready"])

    until(back, 30, "ready again")
    assert "nats-server" in server.muster("logs", "server").stdout


def test_one_process_per_service(make_server: Callable[..., Server]) -> None:
    """The same server from the same entry points, and a killed service comes back."""
    server = make_server("--no-agent", "--no-dashboard", "--processes")
    server.start()
    assert server.process
    listed = subprocess.run(
        ["ps", "--ppid", str(server.process.pid), "-o", "pid=,args="],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in ("authority", "registry", "scheduler", "gateway"):
        assert f"muster.{name}" in listed
    line = next(line for line in listed.splitlines() if "muster.scheduler" in line)
    os.kill(int(line.split()[0]), signal.SIGKILL)
    server.join("one")
    run = server.run(["echo", "hello"], "one")
    view = server.over(run)
    assert server.output(run, view["targets"][0]["node"]) == b"hello\n"


def test_a_port_that_was_asked_for_is_not_replaced(
    server: Server, make_server: Callable[..., Server]
) -> None:
    """A taken port is another one by itself, but an error if it was asked for."""
    other = make_server()
    options = ["up", "--data-dir", str(other.data_dir), "--no-agent", "--no-dashboard"]
    refused = server.muster(*options, "--port", str(server.state()["port"]))
    assert refused.returncode == 1
    assert str(server.state()["port"]) in refused.stderr


def test_listening_everywhere_needs_a_name(make_server: Callable[..., Server]) -> None:
    """Other hosts must be told how to reach the server: that cannot be guessed."""
    other = make_server()
    refused = other.muster("up", "--data-dir", str(other.data_dir), "--listen", "0.0.0.0")  # noqa: S104
    assert refused.returncode == 1
    assert "--address" in refused.stderr


def test_a_directory_may_have_any_name(make_server: Callable[..., Server]) -> None:
    """Spaces, quotes, Chinese, and a path in which no socket fits: broker and dashboard start."""
    server = make_server("--no-agent")
    server.data_dir = server.data_dir.parent / '数据 "of" mine' / ("x" * 90) / "server"
    server.data_dir.parent.mkdir(parents=True)
    server.start()
    login = json.loads((server.data_dir / "first-login.json").read_text())
    with httpx.Client(base_url=server.url, timeout=20) as browser:
        browser.post("/api/v1/login", json=login).raise_for_status()
        change = {"old": login["password"], "new": "my own words"}
        csrf = {"X-Muster-CSRF": browser.cookies["muster_csrf"]}
        browser.post("/api/v1/me/password", json=change, headers=csrf).raise_for_status()
        until(lambda: "<title>" in browser.get("/dashboard/").text, 30, "the dashboard")
