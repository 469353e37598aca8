"""The agent's command line: what it says of itself, and the unit that it writes."""

import asyncio
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from muster.agent import installing, units
from muster.agent.home import Home, default_dir
from muster.agent.identity import Identity
from muster.agent.policy import MONITOR_ONLY, Policy, allowing, own_name
from muster.agent.privileged import splitting
from muster.agent.privileged.trust import Trust
from muster.agent.units import AGENT, HELPER, Shape, Units, program
from muster.contracts.errors import Conflict, Denied
from muster.contracts.names import new_node_id
from muster.kit.testing import Broker
from tests.agent.stage import Process, Server, join, until

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
PROGRAM = ("/usr/local/bin/muster-agent",)
HOME = Home(Path("/var/lib/muster-agent"))
SPLIT = Units(HOME, PROGRAM, Shape.SPLIT).texts()
SHIPPED = {
    "muster-agent.service": SPLIT[AGENT],
    "muster-agent-helper.service": SPLIT[HELPER],
    "muster-agent-monitor-only.service": Units(HOME, PROGRAM, Shape.WATCHING).texts()[AGENT],
    "muster-agent.user.service": Units(
        Home(Path("%S/muster-agent")), ("%h/.local/bin/muster-agent",), Shape.OWN
    ).texts()[AGENT],
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
    assert (UNITS / name).read_text() == SHIPPED[name].replace("%%", "%")


def _unit(name: str, folder: Path) -> Path:
    """Return a shipped unit that systemd can look at on this machine."""
    text = (UNITS / name).read_text()
    for path in ("/usr/local/bin/muster-agent", "%h/.local/bin/muster-agent"):
        text = text.replace(path, "/bin/true")
    unit = folder / name
    unit.write_text(text.replace("User=muster-agent", "User=daemon"))
    return unit


@pytest.mark.parametrize("name", SHIPPED)
def test_systemd_takes_the_units(name: str, tmp_path: Path) -> None:
    """No unknown directive, no wrong value."""
    _unit("muster-agent-helper.service", tmp_path)
    done = _analyzed("verify", "--man=no", str(_unit(name, tmp_path)))
    ours = [line for line in done.stderr.splitlines() if "muster-agent" in line]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.parametrize("name", ["muster-agent.service", "muster-agent-monitor-only.service"])
def test_the_part_on_the_network_has_next_to_no_rights(name: str, tmp_path: Path) -> None:
    """At most 2.0 of the 10 that `systemd-analyze security` gives a unit without any limits."""
    unit = str(_unit(name, tmp_path))
    done = _analyzed("security", "--offline=true", "--threshold=20", unit)
    assert done.returncode == 0, done.stdout


def _analyzed(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *words], capture_output=True, text=True, timeout=60, check=False
    )


def test_paths_are_quoted_for_systemd() -> None:
    """A blank, a per cent or a dollar sign in a path is not taken for something else."""
    home = Home(Path("/srv/my data/50%/$HOME"))
    text = Units(home, ("/opt/a b/muster-agent",), Shape.OWN).texts()[AGENT]
    assert 'ExecStart="/opt/a b/muster-agent" run --data-dir "/srv/my data/50%%/$$HOME"' in text


def test_installing_needs_an_identity(tmp_path: Path) -> None:
    """A unit that can only fail is not written."""
    units = Units(Home(tmp_path / "nothing"), program(), Shape.OWN)
    with pytest.raises(Exception, match="no agent has joined"):
        installing.install(units)


def test_a_split_moves_the_policy_out_of_reach(broker: Broker, home: Home) -> None:
    """What the part on the network could change is not what the helper obeys."""
    join(broker, home, new_node_id())
    home.write(home.policy, allowing(own_name()))
    me = pwd.getpwuid(os.getuid())
    done = splitting.split(home, me)
    assert not home.policy.exists()
    assert Policy.of(home.helper).users() == [own_name()]
    pinned = Trust.load(home.helper).pinned
    assert (pinned.uid, pinned.gid) == (me.pw_uid, me.pw_gid)
    assert pinned.authority_keys == Identity.load(home).authority_keys
    assert home.helper.trust.stat().st_mode & 0o077 == 0
    assert any("policy" in line for line in done)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a directory away")
def test_a_second_split_believes_nothing_that_the_network_part_may_have_written(
    broker: Broker, home: Home
) -> None:
    """Keys, a policy, links to other files: an upgrade by root must not carry them over."""
    user = pwd.getpwnam("daemon")
    join(broker, home, new_node_id())
    home.write(home.policy, allowing("daemon"))
    splitting.split(home, user)
    before = Trust.load(home.helper).pinned
    identity = Identity.load(home)
    identity.model_copy(update={"authority_keys": ["evil"], "epoch": 0}).save(home)
    home.write(home.policy, allowing("root"))
    target = home.root.parent / "of-root"
    target.write_text("x")
    (home.root / "link").symlink_to(target)
    (home.root / "folder").symlink_to(home.root.parent)
    splitting.split(home, user)
    assert Trust.load(home.helper).pinned == before
    assert Policy.of(home.helper).users() == ["daemon"]
    assert target.stat().st_uid == 0
    assert home.root.parent.stat().st_uid == 0
    identity.model_copy(update={"node": new_node_id()}).save(home)
    with pytest.raises(Conflict, match="another node"):
        splitting.split(home, user)


def _stub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a `systemctl` first in the path that only writes down what it was asked."""
    said = folder / "systemctl.log"
    program = folder / "systemctl"
    program.write_text(f'#!/bin/sh\necho "$@" >> {said}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(units, "SYSTEM_UNITS", folder)
    return said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes units of the system")
def test_another_shape_leaves_no_helper_behind(
    broker: Broker, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who installs anew to only watch does not leave root's helper running."""
    said = _stub(tmp_path, monkeypatch)
    join(broker, home, new_node_id())
    user = pwd.getpwnam("daemon")
    monkeypatch.setattr(splitting, "check_program", lambda _program: None)
    installing.install(Units(home, ("/bin/true",), Shape.SPLIT, user.pw_name))
    assert (tmp_path / HELPER).exists()
    assert home.helper.trust.exists()
    assert said.read_text().splitlines()[0] == f"stop {AGENT} {HELPER}"
    installing.install(Units(home, ("/bin/true",), Shape.WATCHING, user.pw_name))
    assert f"disable --now {HELPER}" in said.read_text()
    assert not (tmp_path / HELPER).exists()
    assert not home.helper.root.exists()
    assert home.policy.read_text() == MONITOR_ONLY


def test_root_starts_only_what_root_alone_can_change(tmp_path: Path) -> None:
    """And the user without rights must be able to start it, which is said before anything else."""
    tmp_path.chmod(0o755)
    program = tmp_path / "bin" / "muster-agent"
    program.parent.mkdir(mode=0o777)
    program.parent.chmod(0o777)
    program.touch()
    with pytest.raises(Denied, match="others than root can change"):
        splitting.check_program([str(program)])
    program.parent.chmod(0o700)
    with pytest.raises(Denied, match="closed to others"):
        splitting.check_program([str(program)])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be lured")
async def test_root_is_not_lured_by_what_lies_in_the_directory_of_another(
    broker: Broker, home: Home
) -> None:
    """No file is made or emptied through a link, no control character reaches the terminal."""
    join(broker, home, new_node_id())
    splitting.split(home, pwd.getpwnam("daemon"))
    victim = home.root.parent / "victim"
    victim.write_text("precious")
    identity = Identity.load(home)
    identity.model_copy(update={"urls": ["nats://\x1b[31mred"]}).save(home)
    (home.root / "agent.lock").unlink(missing_ok=True)
    (home.root / "agent.lock").symlink_to(victim)
    for verb in ("status", "run", "doctor"):
        code, said = await _agent(verb, home=home)
        assert code == 1
        assert "\x1b" not in said
        assert "Traceback" not in said
    assert victim.read_text() == "precious"
    code, said = await _agent("join", "muster1.x", home=home)
    assert code != 0
