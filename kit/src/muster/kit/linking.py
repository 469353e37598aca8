"""The link of the audit's chain, for who writes it and for who checks an export of it.

``hash = SHA-256(previous hash + canonical JSON of the record)``.
"""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any, Final

GENESIS: Final = "0" * 64
"""What the first record follows."""


def link(previous: str, row: dict[str, Any]) -> str:
    """Return the hash of a record that follows *previous*; its own hash does not count."""
    at: datetime = row["at"]
    body = {**row, "at": at.astimezone(UTC).isoformat(timespec="microseconds")}
    body.pop("hash", None)
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(f"{previous}{canonical}".encode()).hexdigest()
