"""Secrets that have to be kept so that they can be read again: encrypted in the database.

The key is in a file of its own beside the authority's other keys, so a copy of the database alone
gives nobody a secret.
"""

import base64
import secrets
from pathlib import Path

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from muster.kit.files import write_private


class Vault:
    """Encrypts secrets of one kind with a key of their own."""

    def __init__(self, keys: Path, kind: str) -> None:
        """Derive it from ``vault.key`` in the directory *keys*, which is made if it is missing."""
        path = keys / "vault.key"
        if not path.exists():
            write_private(path, secrets.token_urlsafe(32))
        whole = path.read_text().strip().encode()
        derived = HKDF(SHA256(), 32, None, f"muster {kind}".encode()).derive(whole)
        self._fernet = Fernet(base64.urlsafe_b64encode(derived))

    def lock(self, secret: str) -> str:
        """Return *secret* as it is kept."""
        return self._fernet.encrypt(secret.encode()).decode()

    def unlock(self, kept: str) -> str:
        """Return the secret; raises `InvalidToken` if it was kept under another key."""
        return self._fernet.decrypt(kept.encode()).decode()
