"""What the host allows, whatever is ordered."""

import os
import pwd
from pathlib import Path

import pytest

from muster.agent.policy import Policy
from muster.contracts.errors import Denied

ME = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    """Give a policy of two files that are not there yet."""
    return Policy([tmp_path / "host.toml", tmp_path / "own.toml"])


def test_without_files_the_agents_user_may_run(policy: Policy) -> None:
    """And nobody else."""
    policy.check("")
    policy.check(ME)
    with pytest.raises(Denied, match="as daemon"):
        policy.check("daemon")


@pytest.mark.parametrize("number", [0, 1])
def test_either_file_can_forbid(policy: Policy, number: int) -> None:
    """What one forbids the other cannot allow."""
    policy.files[number].write_text("run = false\n")
    policy.files[1 - number].write_text("run = true\n")
    assert not policy.runs
    with pytest.raises(Denied, match="local policy"):
        policy.check("")


def test_a_user_must_be_allowed_by_every_file_that_speaks_of_users(policy: Policy) -> None:
    """Lists only narrow each other."""
    policy.files[0].write_text('users = ["daemon", "games"]\n')
    policy.files[1].write_text('users = ["games"]\n')
    with pytest.raises(Denied):
        policy.check("daemon")
    if os.geteuid() == 0:
        policy.check("games")
    else:
        with pytest.raises(Denied, match="cannot become"):
            policy.check("games")


@pytest.mark.parametrize(
    "text", ["run = maybe", "run = 1", 'runs = "all"', 'users = "root"', "\x00", "[run]"]
)
def test_what_is_not_understood_allows_nothing(policy: Policy, text: str) -> None:
    """A typing error must not open a host."""
    policy.files[1].write_text(text)
    with pytest.raises(Denied, match=r"own\.toml"):
        policy.check("")
    assert policy.trouble
    policy.files[1].unlink()
    policy.check("")
    assert not policy.trouble
