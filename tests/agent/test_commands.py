"""The agent's command line: what it says of itself, and the unit that it writes."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from muster.agent import installing
from muster.agent.home import Home, default_dir
from muster.agent.installing import Unit
from tests.agent.stage import Process, Server, until

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
PROGRAM = ("/usr/local/bin/muster-agent",)
SHIPPED = {
    "muster-agent.service": Unit(Path("/var/lib/muster-agent"), PROGRAM),
    "muster-agent-monitor-only.service": Unit(
        Path("/var/lib/muster-agent"), PROGRAM, user="muster-agent", monitor_only=True
    ),
    "muster-agent.user.service": Unit(
        Path("%S/muster-agent"), ("%h/.local/bin/muster-agent",), own=True
    ),
}


async def _agent(*words: str, home: Home) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "muster.agent",
        *words,
        "--data-dir",
        str(home.root),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "MUSTER_AGENT_MIN_FREE_PERCENT": "0"},
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_status_and_doctor_tell_how_it_is(server: Server, home: Home) -> None:
    """Who, where to, whether it runs and is connected; the exit code says whether all is well."""
    code, said = await _agent("status", home=home)
    assert code == 1
    assert "is not running" in said
    process = Process(home, server)
    await process.start()
    await until(lambda: process.status().get("connected"))
    code, said = await _agent("status", home=home)
    assert code == 0
    assert server.node in said
    assert f"pid {process.pid}" in said
    code, said = await _agent("doctor", home=home)
    assert code == 0, said
    assert "BAD" not in said
    assert "answers" in said
    await process.end()
    home.identity.chmod(0o644)
    home.policy.write_text("run = 3")
    server.broker.stop()
    code, said = await _agent("doctor", home=home)
    assert code == 1
    bad = [line.split()[1] for line in said.splitlines() if line.startswith("BAD")]
    assert bad == ["identity", "policy", "server"]
    server.broker.start()


async def test_a_second_agent_on_one_identity_is_refused(home: Home, agent: Process) -> None:
    """With a message that says why; the first is not disturbed."""
    code, said = await _agent("run", home=home)
    assert code == 1
    assert f"an agent is running already in {home.root}" in said
    assert "Traceback" not in said
    code, said = await _agent("leave", "--yes", home=home)
    assert code == 1
    assert "stop it first" in said
    assert agent.process
    assert agent.process.returncode is None


def test_the_default_directory() -> None:
    """Named, or root's, or the user's state."""
    assert default_dir({"MUSTER_AGENT_DATA_DIR": "/x"}, root=True) == Path("/x")
    assert default_dir({}, root=True) == Path("/var/lib/muster-agent")
    env = {"HOME": "/home/li"}
    assert default_dir(env, root=False) == Path("/home/li/.local/state/muster-agent")
    env["XDG_STATE_HOME"] = "/state"
    assert default_dir(env, root=False) == Path("/state/muster-agent")


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_units_are_the_written_ones(name: str) -> None:
    """Who installs by hand gets what `muster-agent install` writes."""
    text = SHIPPED[name].text().replace("%%", "%")
    assert (UNITS / name).read_text() == text


@pytest.mark.parametrize("name", SHIPPED)
def test_systemd_takes_the_units(name: str, tmp_path: Path) -> None:
    """No unknown directive, no wrong value."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd is not installed")
    text = (UNITS / name).read_text()
    for program in ("/usr/local/bin/muster-agent", "%h/.local/bin/muster-agent"):
        text = text.replace(program, "/bin/true")
    unit = tmp_path / "muster-agent.service"
    unit.write_text(text.replace("User=muster-agent", "User=daemon"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if "muster-agent" in line]
    assert (done.returncode, ours) == (0, [])


def test_paths_are_quoted_for_systemd() -> None:
    """A blank, a per cent or a dollar sign in a path is not taken for something else."""
    unit = Unit(Path("/srv/my data/50%/$HOME"), ("/opt/a b/muster-agent",))
    assert (
        'ExecStart="/opt/a b/muster-agent" run --data-dir "/srv/my data/50%%/$$HOME"' in unit.text()
    )


def test_installing_needs_an_identity(tmp_path: Path) -> None:
    """A unit that can only fail is not written."""
    unit = Unit(tmp_path, installing.program(), own=True)
    with pytest.raises(Exception, match="no agent has joined"):
        installing.install(unit, Home(tmp_path / "nothing"))
