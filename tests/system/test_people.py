"""People from the outside: invited, logged in, with rights that hold everywhere, and locked out."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from tests.system.conftest import ENV, OWN, Agent, Server, until

PASSWORD = "correct horse battery"  # noqa: S105


class Cli:
    """The command line of one person on a machine of their own."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True)
        self.home = home

    def __call__(self, *words: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """Run a command line."""
        env = {k: v for k, v in ENV.items() if not k.startswith("XDG_")} | {
            "HOME": str(self.home), "LANG": "C.UTF-8",
        }  # fmt: skip
        return subprocess.run(
            [sys.executable, "-m", "muster.cli", *words],
            env=env, input=stdin, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def json(self, *words: str) -> object:
        """Return what a command says with ``-o json``."""
        said = self(*words, "-o", "json")
        assert said.returncode == 0, said.stderr
        return json.loads(said.stdout)


def accept(server: Server, link: str, password: str) -> str:
    """Open the link of an invitation as a browser does; return the page that comes after."""
    browser = urllib.request.build_opener(
        urllib.request.HTTPCookieProcessor(CookieJar()),
        *([urllib.request.HTTPSHandler(context=server.tls)] if server.tls else []),
    )
    page = browser.open(link, timeout=20).read().decode()
    csrf = re.search(r'name="csrf" value="([^"]+)"', page)
    code = re.search(r'name="code" value="([^"]+)"', page)
    assert csrf
    assert code
    form = {"csrf": csrf[1], "code": code[1], "new": password, "again": password}
    return str(
        browser.open(f"{server.url}/invitation", urlencode(form).encode(), timeout=20)
        .read()
        .decode()
    )


@pytest.fixture
def li(server: Server, tmp_path: Path) -> Cli:
    """A person with a role on one group of nodes, logged in from a machine of their own."""
    name = f"li-{os.urandom(3).hex()}"
    role = f"web-{os.urandom(3).hex()}"
    for words in (
        ("role", "new", role),
        ("grant", "add", role, "node.read", "run.*", "--nodes", "@web"),
    ):
        assert server.muster(*words).returncode == 0
    said = server.muster("user", "invite", name, "--role", role)
    assert said.returncode == 0, said.stderr
    assert name in accept(server, said.stdout.strip(), PASSWORD)
    cli = Cli(tmp_path / name)
    cli.home.joinpath("name").write_text(name)
    login = cli("login", server.url, "--user", name, "--password-stdin", stdin=PASSWORD)
    assert login.returncode == 0, login.stderr
    return cli


def test_an_invited_person_sees_and_does_what_the_role_says(server: Server, li: Cli) -> None:
    """On the nodes of the role; of the others they learn nothing."""
    server.join("people-web")
    server.join("people-db")
    server.muster("node", "group", "people-web", "web")
    assert [one["name"] for one in li.json("node", "ls")] == ["people-web"]  # type: ignore[attr-defined]
    assert li("run", "people-web", "--", "echo", "hi").stdout == "hi\n"
    refused = li("run", "people-db", "--", "true")
    assert refused.returncode == 4
    assert "no such node" in refused.stderr
    assert li("can", "run.create", "people-web").returncode == 0
    assert li("can", "user.write").returncode == 7
    assert li("user", "ls").returncode == 7
    context = next((li.home / ".config/muster/contexts").glob("*.json"))
    assert context.stat().st_mode & 0o777 == 0o600


def test_rights_end_at_once(server: Server, li: Cli) -> None:
    """Disabled, the very next command is refused; enabled again, the login has to be new."""
    name = (li.home / "name").read_text()
    assert li("whoami").returncode == 0
    assert server.muster("user", "set", name, "--disable").returncode == 0
    assert li("node", "ls").returncode == 7
    assert server.muster("user", "set", name, "--enable").returncode == 0
    assert li("node", "ls").returncode == 7
    login = li("login", server.url, "--user", name, "--password-stdin", stdin=PASSWORD)
    assert login.returncode == 0, login.stderr


def test_a_token_does_no_more_than_its_scopes(server: Server, li: Cli, tmp_path: Path) -> None:
    """And ends when its owner ends it."""
    made = li("token", "new", "grafana", "--scope", "node.read")
    program = Cli(tmp_path / "program")
    login = program("login", server.url, "--token-stdin", "--name", "t", stdin=made.stdout)
    assert login.returncode == 0, login.stderr
    assert program("node", "ls").returncode == 0
    assert program("run", "--all", "-q", "--", "true").returncode == 7
    tokens = li.json("token", "ls")
    assert isinstance(tokens, list)
    assert li("token", "rm", tokens[0]["id"]).returncode == 0
    assert program("node", "ls").returncode == 7


def test_a_session_is_listed_and_ended_by_logging_out(server: Server, li: Cli) -> None:
    """The context goes with it."""
    sessions = li.json("session", "ls")
    assert isinstance(sessions, list)
    mine = [one for one in sessions if one["current"]]
    assert mine
    assert "muster-cli" in mine[0]["agent"]
    assert li("logout").returncode == 0
    assert li("whoami").returncode == 12
    name = (li.home / "name").read_text()
    assert (
        len(json.loads(server.muster("session", "ls", "--user", name, "-o", "json").stdout))
        == len(sessions) - 1
    )


def test_the_console_lets_an_administrator_back_in(server: Server, tmp_path: Path) -> None:
    """With a one-time password, while the server runs; it is in the audit."""
    said = server.muster("admin", "reset")
    assert said.returncode == 0, said.stderr
    password = said.stdout.strip()
    cli = Cli(tmp_path / "admin")
    login = cli("login", server.url, "--user", "admin", "--password-stdin", stdin=password)
    assert login.returncode == 2  # the new password has to be typed
    records = server.api("GET", "/audit?action=admin.reset")["items"]
    assert (records[0]["who"], records[0]["detail"]) == ("@console", "admin")
    assert server.muster("admin", "reset", "nobody").returncode == 1
    assert server.muster("audit", "verify").returncode == 0


def test_four_eyes(server: Server, tmp_path: Path) -> None:
    """What a technician runs waits until an administrator approves it, and says so."""
    server.join("people-eyes")
    said = server.muster("user", "invite", "tech-eyes", "--role", "tech")
    accept(server, said.stdout.strip(), PASSWORD)
    tech = Cli(tmp_path / "tech")
    tech("login", server.url, "--user", "tech-eyes", "--password-stdin", stdin=PASSWORD)
    waits = tech("run", "people-eyes", "--", "echo", "approved")
    assert waits.returncode == 6
    assert "another person has to approve" in waits.stderr
    listed = tech.json("approval", "ls")
    assert isinstance(listed, list)
    run = listed[0]["run"]
    assert tech("approval", "approve", run).returncode == 7
    approved = server.muster("approval", "approve", run[:10])
    assert approved.returncode == 0, approved.stderr
    done = tech("runs", "wait", run)
    assert done.returncode == 0, done.stderr
    assert tech("runs", "logs", run).stdout == "approved\n"


def test_a_node_waits_for_approval(server: Server) -> None:
    """It is listed as pending, runs nothing, and comes as soon as somebody lets it in."""
    line = server.api("POST", "/join-tokens", {"name": "waits", "approve": True})["line"]
    agent = Agent(server.data_dir.parent / "agent-waits")
    done = subprocess.run(
        [sys.executable, "-m", "muster.agent", "join", line, "--data-dir", agent.data_dir,
             "--users", OWN],
        env=ENV, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "muster node approve" in done.stdout + done.stderr
    server.agents.append(agent)
    agent.start()
    until(lambda: "pending" in server.muster("node", "ls", "waits", "-o", "csv").stdout, 10)
    assert server.muster("run", "waits", "--", "true").returncode != 0
    assert server.muster("node", "approve", "waits").returncode == 0
    server.online("waits", 40)
    assert server.over(server.run(["true"], "waits"))["targets"][0]["state"] == "done"


def test_a_command_runs_as_another_user_where_both_sides_allow_it(server: Server) -> None:
    """The role has to say so, and the node's own policy; the node has the last word."""
    agent = server.join("run-as")
    for folder in (agent.data_dir, *agent.data_dir.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o011)
    words = ("run", "run-as", "--as", "nobody", "--exit-status", "--", "id", "-un")
    assert "local policy" in server.muster(*words).stderr
    (agent.data_dir / "policy.toml").write_text('users = ["nobody"]\n')
    said = server.muster(*words)
    if os.geteuid() == 0:
        assert (said.returncode, said.stdout) == (0, "nobody\n"), said.stderr
    else:
        assert "cannot become nobody" in said.stderr
    server.muster("role", "new", "plain")
    server.muster("grant", "add", "plain", "node.read", "run.*")
    link = server.muster("user", "invite", "plain-li", "--role", "plain").stdout.strip()
    accept(server, link, PASSWORD)
    plain = Cli(server.data_dir.parent / "plain")
    plain("login", server.url, "--user", "plain-li", "--password-stdin", stdin=PASSWORD)
    refused = plain(*words)
    assert refused.returncode == 7
    assert "as the user nobody" in refused.stderr
    assert plain("can", "run.create", "run-as", "--run-as", "nobody").returncode == 7


def test_a_command_line_is_let_in_from_a_browser(server: Server, li: Cli, tmp_path: Path) -> None:
    """It shows a code; the person says yes where they have logged in; then it acts as them."""
    other = Cli(tmp_path / "other")
    env = {k: v for k, v in ENV.items() if not k.startswith("XDG_")} | {"HOME": str(other.home)}
    with subprocess.Popen(
        [sys.executable, "-m", "muster.cli", "login", server.url, "--web"],
        env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    ) as waiting:  # fmt: skip
        assert waiting.stderr
        code = waiting.stderr.readline().split()[-1]
        context = next((li.home / ".config/muster/contexts").glob("*.json"))
        secret = json.loads(context.read_text())["token"]
        yes_to(server, secret, code)
        waiting.communicate(timeout=30)
        assert waiting.returncode == 0
    name = (li.home / "name").read_text()
    assert other("whoami").stdout.strip() == name


def yes_to(server: Server, secret: str, code: str) -> None:
    """Say yes on the page, as the browser of somebody who has logged in does."""
    with httpx.Client(cookies={"muster": secret}, timeout=20) as browser:
        page = browser.get(f"{server.url}/device?code={code}").text
        csrf = re.search(r'name="csrf" value="([^"]+)"', page)
        assert csrf
        form = {"csrf": csrf[1], "code": code, "yes": "yes"}
        assert browser.post(f"{server.url}/device", data=form).status_code == 200
