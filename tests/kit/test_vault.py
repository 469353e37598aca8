"""Secrets that are kept encrypted."""

import stat
from pathlib import Path

import pytest
from cryptography.fernet import InvalidToken

from muster.kit.identity.vault import Vault


def test_what_is_locked_is_unlocked_by_the_same_key_alone(tmp_path: Path) -> None:
    """After a restart too; not by another kind's key, nor by that of another server."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    kept = Vault(here, "one").lock("the secret")
    assert "secret" not in kept
    assert Vault(here, "one").unlock(kept) == "the secret"
    assert stat.S_IMODE((here / "vault.key").stat().st_mode) == 0o600
    for other in (Vault(here, "two"), Vault(there, "one")):
        with pytest.raises(InvalidToken):
            other.unlock(kept)
