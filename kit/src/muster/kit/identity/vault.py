"""Secrets that have to be kept so that they can be read again: encrypted in the database.

The key is derived from the authority's own, so a copy of the database alone gives nobody a secret.
"""

import base64

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class Vault:
    """Encrypts secrets of one kind with a key of their own."""

    def __init__(self, key: Ed25519PrivateKey, kind: str) -> None:
        """Derive it from the authority's *key*."""
        derived = HKDF(SHA256(), 32, None, f"muster {kind}".encode()).derive(
            key.private_bytes_raw()
        )
        self._fernet = Fernet(base64.urlsafe_b64encode(derived))

    def lock(self, secret: str) -> str:
        """Return *secret* as it is kept."""
        return self._fernet.encrypt(secret.encode()).decode()

    def unlock(self, kept: str) -> str:
        """Return the secret; raises `InvalidToken` if it was kept under another key."""
        return self._fernet.decrypt(kept.encode()).decode()
