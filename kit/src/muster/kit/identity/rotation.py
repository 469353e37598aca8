"""Another signing key for the authority, without joining any node again.

Nodes pin the keys whose commands they obey. A *notice* names the keys that may sign from now on,
and is sealed by one that might before; so whoever pins any key of the chain can follow it to its
end. Three steps, with as much time in between as one likes:

* *prepare*: a next key is made; notice ``old, next``, sealed by the old one;
* *switch*: the next key signs, the old private key is gone; both are still obeyed;
* *retire*: notice ``next``, sealed by it; the old one is obeyed no longer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import TypeAdapter

from muster.contracts.authority import KeyNotice
from muster.contracts.errors import Conflict
from muster.kit.files import write_private
from muster.kit.identity import natsjwt
from muster.kit.identity.seals import is_sealed, seal

_NOTICES = TypeAdapter(list[KeyNotice])


def follow(pinned: Sequence[str], notices: Sequence[KeyNotice]) -> list[str]:
    """Return the keys that are pinned after *notices*, oldest first, have been heard.

    A notice that none of the keys that are pinned at that point has sealed is passed over.
    """
    keys = list(pinned)
    for one in notices:
        if is_sealed(_said(one), one.seal, [natsjwt.bytes64(key) for key in keys]):
            keys = list(one.keys)
    return keys


def _said(notice: KeyNotice) -> bytes:
    return f"muster keys|{notice.at.isoformat()}|{'|'.join(notice.keys)}".encode()


def _sealed(keys: list[str], key: Ed25519PrivateKey, now: datetime) -> KeyNotice:
    notice = KeyNotice(keys=keys, at=now, seal="")
    return notice.model_copy(update={"seal": seal(_said(notice), key)})


@dataclass(frozen=True, slots=True)
class Rotation:
    """The files of the authority's keys, in the directory *keys*."""

    keys: Path

    @property
    def state(self) -> str:
        """``steady``, ``prepared`` or ``switched``."""
        if (self.keys / "authority.next").exists():
            return "prepared"
        return "switched" if len(self._public()) > 1 else "steady"

    def notices(self) -> list[KeyNotice]:
        """Return all notices, oldest first."""
        try:
            return _NOTICES.validate_json((self.keys / "notices.json").read_bytes())
        except FileNotFoundError:
            return []

    def retired(self) -> list[bytes]:
        """Return the public keys that were obeyed once: what they have sealed stays sealed."""
        try:
            lines = (self.keys / "authority.retired").read_text().split()
        except FileNotFoundError:
            return []
        return [natsjwt.bytes64(line) for line in lines]

    def prepare(self, now: datetime) -> None:
        """Make the next key, and let the old one vouch for it; a second time it goes on."""
        if self.state == "switched":
            raise Conflict("a rotation is under way: retire the old key first")
        path = self.keys / "authority.next"
        if not path.exists():
            write_private(path, natsjwt.text64(Ed25519PrivateKey.generate().private_bytes_raw()))
        old, new = _private(self.keys / "authority.key"), _private(path)
        both = [_text(old), _text(new)]
        if not any(one.keys == both for one in self.notices()):
            self._tell(_sealed(both, old, now))
        self._write_public(both)

    def switch(self) -> None:
        """Let the next key sign; the old private key is overwritten."""
        path = self.keys / "authority.next"
        if not path.exists():
            raise Conflict("there is no next key: prepare one first")
        old = self._public()[0]
        new = _text(_private(path))
        write_private(self.keys / "authority.key", path.read_text())
        self._write_public([new, *([old] if old != new else self._public()[1:])])
        path.unlink()

    def retire(self, now: datetime) -> None:
        """Let nobody obey the old key any longer."""
        if self.state != "switched":
            raise Conflict("there is no old key: switch to the next one first")
        key = _private(self.keys / "authority.key")
        new, olds = _text(key), [one for one in self._public() if one != _text(key)]
        known = {natsjwt.text64(one) for one in self.retired()}
        write_private(self.keys / "authority.retired", "\n".join(sorted({*known, *olds})) + "\n")
        self._tell(_sealed([new], key, now))
        self._write_public([new])

    def _tell(self, notice: KeyNotice) -> None:
        write_private(
            self.keys / "notices.json", _NOTICES.dump_json([*self.notices(), notice], indent=1)
        )

    def _public(self) -> list[str]:
        return (self.keys / "authority.pub").read_text().split()

    def _write_public(self, keys: Sequence[str]) -> None:
        write_private(self.keys / "authority.pub", "\n".join(keys) + "\n")


def _private(path: Path) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(natsjwt.bytes64(path.read_text().strip()))


def _text(key: Ed25519PrivateKey) -> str:
    return natsjwt.text64(key.public_key().public_bytes_raw())
