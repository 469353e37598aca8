"""What the host allows, whatever is ordered."""

import os
import pwd
from pathlib import Path

import pytest

from muster.agent.policy import Policy, allowing
from muster.contracts.allowed import FileRoot
from muster.contracts.errors import Denied, Malformed

ME = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    """Give a policy of two files that are not there yet."""
    return Policy([tmp_path / "host.toml", tmp_path / "own.toml"])


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a user without rights, as far as the policy can see."""
    uid = pwd.getpwnam("daemon").pw_uid
    monkeypatch.setattr(os, "geteuid", lambda: uid)


@pytest.mark.usefixtures("plain")
def test_without_files_the_agents_user_may_run(policy: Policy) -> None:
    """And nobody else."""
    assert policy.user("") == policy.user("daemon") == "daemon"
    with pytest.raises(Denied, match="as games"):
        policy.user("games")


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be root, as far as the policy can see."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def _own(policy: Policy, text: str, number: int = 1) -> None:
    policy.files[number].write_text(text)


@pytest.mark.usefixtures("root")
def test_root_only_where_the_policy_says_so(policy: Policy) -> None:
    """An agent of root runs nothing until somebody is named."""
    for run_as in ("", "root", "daemon"):
        with pytest.raises(Denied, match="local policy"):
            policy.user(run_as)
    with pytest.raises(Denied, match=r'users = \["root"\]'):
        policy.user("")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a file that is root's own")
@pytest.mark.usefixtures("root")
def test_who_is_named_runs_commands_of_a_root_agent(policy: Policy) -> None:
    """The first of them, where nobody is named; root itself only if it is among them."""
    _own(policy, 'users = ["daemon", "games"]\n')
    assert [policy.user(one) for one in ("", "daemon", "games")] == ["daemon", "daemon", "games"]
    with pytest.raises(Denied, match="as root"):
        policy.user("root")
    _own(policy, 'users = ["root"]\n')
    assert policy.user("") == policy.user("root") == "root"


@pytest.mark.parametrize("number", [0, 1])
def test_either_file_can_forbid(policy: Policy, number: int) -> None:
    """What one forbids the other cannot allow."""
    _own(policy, "run = false\n", number)
    _own(policy, f'run = true\nusers = ["{ME}"]\n', 1 - number)
    assert not policy.runs
    assert policy.shown(helper=False).users == []
    with pytest.raises(Denied, match="local policy"):
        policy.user("")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a file that is root's own")
@pytest.mark.usefixtures("root")
def test_a_user_must_be_allowed_by_every_file_that_speaks_of_users(policy: Policy) -> None:
    """Lists only narrow each other."""
    _own(policy, 'users = ["daemon", "games"]\n', 0)
    _own(policy, 'users = ["games"]\n')
    with pytest.raises(Denied):
        policy.user("daemon")
    assert policy.user("games") == policy.user("") == "games"


@pytest.mark.parametrize(
    "text",
    [
        "run = maybe",
        "run = 1",
        'runs = "all"',
        'users = "root"',
        "\x00",
        "[run]",
        "terminal = 1",
        '[files."../x"]\npath = "/"',
        '[files.www]\npath = "/"\nmode = "all"',
    ],
)
def test_what_is_not_understood_allows_nothing(policy: Policy, text: str) -> None:
    """A typing error must not open a host."""
    _own(policy, text)
    with pytest.raises(Denied, match=r"own\.toml"):
        policy.user("")
    assert policy.trouble
    shown = policy.shown(helper=False)
    assert (shown.run, shown.terminal, shown.update, shown.services) == (False, False, False, [])
    policy.files[1].unlink()
    assert policy.runs


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o622])
def test_what_others_may_write_allows_nothing(policy: Policy, mode: int) -> None:
    """The policy is the word of the host's administrator alone."""
    _own(policy, f'users = ["{ME}"]\n')
    assert policy.runs
    policy.files[1].chmod(mode)
    assert not policy.runs
    assert "others may write it" in policy.trouble
    policy.files[1].chmod(0o644)
    assert policy.runs


def test_a_policy_of_another_user_allows_nothing(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only root and the agent's own user speak for the host."""
    _own(policy, "")
    if os.getuid() == 0:
        os.chown(policy.files[1], 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert not policy.runs


def test_what_is_shown_is_what_all_files_allow(policy: Policy) -> None:
    """For the inventory: lists are what both have, roots what both name alike."""
    _own(
        policy,
        'terminal = false\nservices = ["nginx", "cron"]\nforward = ["db:5432", "a:1"]\n'
        '[files.www]\npath = "/var/www"\nuser = "www-data"\nmode = "ro"\n'
        '[files.tmp]\npath = "/tmp"\n',
        0,
    )
    _own(
        policy,
        'update = false\nservices = ["nginx"]\nforward = ["db:5432"]\n'
        '[files.www]\npath = "/var/www"\nuser = "www-data"\nmode = "ro"\n'
        '[files.tmp]\npath = "/"\n',
    )
    shown = policy.shown(helper=True)
    assert (shown.run, shown.terminal, shown.update, shown.helper) == (True, False, False, True)
    assert (shown.services, shown.forward) == (["nginx"], ["db:5432"])
    assert shown.files == {"www": FileRoot(path="/var/www", user="www-data", mode="ro")}


def test_without_files_nothing_is_forwarded_and_no_folder_is_open(policy: Policy) -> None:
    """What reaches further than commands has to be named."""
    shown = policy.shown(helper=False)
    assert (shown.forward, shown.files, shown.services) == ([], {}, None)


def test_users_are_named_on_the_command_line(policy: Policy) -> None:
    """`--users` becomes a policy; a user who is not there is told at once."""
    _own(policy, allowing("daemon, games"))
    assert policy.users()[-2:] == ["daemon", "games"]
    with pytest.raises(Malformed, match="no user nobody-at-all"):
        allowing("daemon,nobody-at-all")
