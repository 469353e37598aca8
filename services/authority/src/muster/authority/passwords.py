"""Passwords: argon2id, in a small pool, because each hash takes 64 MiB and 0.1 s.

A login for an unknown name takes as long as one for a known name.
"""

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_AT_ONCE: Final = 2
_WORDS: Final = "abcdefghjkmnpqrstuvwxyz23456789"

_hasher: Final = PasswordHasher()
_pool: Final = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="argon2")


async def hashed(password: str) -> str:
    """Return the argon2id hash of *password*."""
    return await asyncio.get_running_loop().run_in_executor(_pool, _hasher.hash, password)


async def fits(password: str, hash_: str | None) -> bool:
    """Whether *password* is the one of *hash_*; None takes as long, and is never."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_pool, _fits, password, hash_)


def one_time() -> str:
    """Return a password that can be typed from a screen: 95 bits in groups of five."""
    letters = [secrets.choice(_WORDS) for _ in range(20)]
    return "-".join("".join(letters[i : i + 5]) for i in range(0, 20, 5))


def _fits(password: str, hash_: str | None) -> bool:
    try:
        return _hasher.verify(hash_ or _nobody(), password) and hash_ is not None
    except (VerificationError, InvalidHashError):
        return False


@lru_cache(maxsize=1)
def _nobody() -> str:
    return _hasher.hash(secrets.token_hex())
