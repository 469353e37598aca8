"""Another certificate authority for the server, without joining any node or logging anybody out.

The file ``ca.pem`` names all authorities that are trusted, the one that issues first. Three steps,
with as much time in between as one likes:

* *prepare*: a next authority is made, and trusted beside the old one by who hears of it;
* *switch*: it issues the server's certificate from now on; the old private key is gone;
* *retire*: the old one is trusted no longer.

Who pins an authority learns of the next one in either of two ways, over any connection at all:

* nodes by a *notice*: the whole of ``ca.pem``, sealed by the authority's signing key. What is older
  than what they trust is passed over, so that nobody brings a retired authority back;
* command lines by a *voucher*: a certificate of the next authority, issued by the old one. It is
  kept, so that also somebody who was away for years follows, from one to the next.

Each step is one file that is replaced; what follows from it is made good by the next start.
"""

import secrets
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from muster.contracts.authority import CaNotice
from muster.contracts.errors import Conflict
from muster.kit.files import locked, private_dir, write_private
from muster.kit.identity.certificates import (
    Issued,
    create_ca,
    fingerprint,
    is_key_of,
    issue_server,
    issued_by,
    names_of,
    serves,
    split,
    vouch,
)
from muster.kit.identity.seals import is_sealed, seal

MOST: Final = 32
"""Vouchers that are told and followed."""
_WAIT: Final = 20.0


def newest(bundle: str) -> str:
    """Return the fingerprint of the youngest authority in *bundle*; nothing for an empty one."""
    return fingerprint(max(split(bundle), key=_age)) if bundle else ""


def _loaded(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


def _age(pem: str) -> datetime:
    return _loaded(pem).not_valid_before_utc


def supersedes(new: str, old: str) -> bool:
    """Whether *new* comes after *old*: it has a younger authority, or the same and fewer of them.

    The order is in the certificates themselves: no clock and no counter could go wrong.
    """
    ours, theirs = split(new), split(old)
    if newest(new) == newest(old):
        return set(ours) < set(theirs)
    return max(map(_age, ours)) > max(map(_age, theirs))


def give_notice(bundle: str, key: Ed25519PrivateKey) -> CaNotice:
    """Return the notice that *bundle* is what is to be trusted."""
    return CaNotice(ca=bundle, seal=seal(_said(bundle), key))


def hear(pinned: str, notice: CaNotice | None, keys: Sequence[bytes]) -> str:
    """Return what is trusted after *notice*, which one of *keys* must have sealed.

    Whoever speaks without TLS pins nothing, and goes on doing so.
    """
    if notice is None or not pinned or not is_sealed(_said(notice.ca), notice.seal, keys):
        return pinned
    try:
        return notice.ca if supersedes(notice.ca, pinned) else pinned
    except ValueError:
        return pinned


def _said(bundle: str) -> bytes:
    return f"muster ca|{bundle}".encode()


def follow(pinned: str, shown: str, vouchers: Sequence[str]) -> str:
    """Return the first authority of *shown* that *pinned* is, or has led to by *vouchers*.

    Nothing of *shown* and *vouchers* has to be trusted. Returns nothing if there is none.
    """
    now = datetime.now(UTC)
    try:
        reached = {pem: _loaded(pem) for pem in split(pinned)}
        wanted = {pem: _loaded(pem) for pem in split(shown)}
        links = {pem: _loaded(pem) for text in vouchers[-MOST:] for pem in split(text)}
    except ValueError:
        return ""
    while more := {
        pem: link
        for pem, link in links.items()
        if pem not in reached and any(_leads(link, by, now) for by in reached.values())
    }:
        reached |= more
    return next((pem for pem, one in wanted.items() if _known(one, reached.values())), "")


def _known(wanted: x509.Certificate, reached: Iterable[x509.Certificate]) -> bool:
    """Whether *wanted* is one of *reached*, or an authority of the same name and key.

    It must have signed itself: anybody could write another certificate around that name and key.
    """
    if any(one == wanted for one in reached):
        return True
    try:
        wanted.verify_directly_issued_by(wanted)
        return any(
            one.subject == wanted.subject and one.public_key() == wanted.public_key()
            for one in reached
        )
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False


def _leads(voucher: x509.Certificate, by: x509.Certificate, now: datetime) -> bool:
    """Whether *voucher* speaks of an authority in the name of *by*."""
    if not voucher.not_valid_before_utc <= now <= voucher.not_valid_after_utc:
        return False
    try:
        basic = voucher.extensions.get_extension_for_class(x509.BasicConstraints)
        voucher.verify_directly_issued_by(by)
    except (x509.ExtensionNotFound, InvalidSignature, ValueError, TypeError):
        return False
    return basic.value.ca  # a server's certificate names a key too, and is no voucher


@dataclass(frozen=True, slots=True)
class Authorities:
    """The files of the server's authorities and of its certificate, in the directory *folder*."""

    folder: Path

    @property
    def bundle(self) -> Path:
        """Everything that is trusted, the authority that issues first."""
        return self.folder / "ca.pem"

    @property
    def key(self) -> Path:
        """The private key of the authority that issues: which one that is, depends on it alone."""
        return self.folder / "ca.key"

    @property
    def next(self) -> Path:
        """The next authority, certificate and key."""
        return self.folder / "ca.next"

    @property
    def server(self) -> Path:
        """The server's certificate and its key."""
        return self.folder / "server.pem"

    @property
    def state(self) -> str:
        """``steady``, ``prepared`` or ``switched``."""
        coming, trusted = self._coming(), self.trusted()
        if coming is not None and coming.cert.decode() in trusted:
            return "prepared"
        return "switched" if len(trusted) > 1 else "steady"

    def trusted(self) -> list[str]:
        """Return the authorities that are trusted, the one that issues first."""
        return split(self.bundle.read_text())

    def vouchers(self) -> list[str]:
        """Return the latest vouchers, oldest first."""
        try:
            return split((self.folder / "vouchers.pem").read_text())[-MOST:]
        except FileNotFoundError:
            return []

    def open(self, hosts: Sequence[str], now: datetime) -> None:
        """Make what is missing, and finish what a crash has left half done."""
        private_dir(self.folder)
        with locked(self.folder / "lock", wait=_WAIT):
            if not self.key.exists():
                made = create_ca()
                write_private(self.bundle, made.cert)
                write_private(self.key, made.key)
            self._mend(hosts, now)

    def renew(self, now: datetime) -> None:
        """Issue the server's certificate anew if it ends within 30 days."""
        with locked(self.folder / "lock", wait=_WAIT):
            self._mend((), now)

    def prepare(self, now: datetime) -> None:
        """Make the next authority, and let the old one vouch for it; a second time it goes on."""
        with self._step(now):
            if self.state == "switched":
                raise Conflict("a rotation is under way: retire the old CA first")
            old = self._issuer()
            coming = self._coming()
            if coming is None or _age(coming.cert.decode()) <= _age(old.cert.decode()):
                after = _age(old.cert.decode()) + timedelta(seconds=1)
                name = f"Muster CA {now:%Y-%m-%d} {secrets.token_hex(2)}"
                coming = create_ca(name, after=after)
                write_private(self.next, coming.cert + coming.key)
            self._vouch(old, coming, now)
            if coming.cert.decode() not in self.trusted():
                write_private(self.bundle, f"{old.cert.decode()}{coming.cert.decode()}")

    def switch(self, now: datetime) -> None:
        """Let the next authority issue; the old private key is overwritten.

        A second time there is nothing left to do.
        """
        with self._step(now):
            coming = self._coming()
            if self.state == "steady":
                raise Conflict("there is no next CA: prepare one first")
            if coming is not None and self.state == "prepared":
                if _age(coming.cert.decode()) > now:
                    raise Conflict("the next CA is not valid yet: look at the clock, and wait")
                write_private(self.key, coming.key)
                self._mend((), now)

    def retire(self, now: datetime) -> None:
        """Trust the old authority no longer."""
        with self._step(now):
            if self.state != "switched":
                raise Conflict("there is no old CA: switch to the next one first")
            issuer = self._issuer()
            if fingerprint(issuer.cert.decode()) != newest(self.bundle.read_text()):
                raise Conflict(f"{self.next} is missing, which the nodes trust: restore it")
            write_private(self.bundle, issuer.cert)

    @contextmanager
    def _step(self, now: datetime) -> Generator[None]:
        if not self.key.exists():
            raise Conflict(f"this server has no CA of its own in {self.folder}")
        with locked(self.folder / "lock", wait=_WAIT):
            self._mend((), now)
            yield

    def _coming(self) -> Issued | None:
        """Return the next authority, until it issues."""
        try:
            text = self.next.read_bytes()
        except FileNotFoundError:
            return None
        cert = split(text.decode())[0].encode()
        return Issued(cert, text[text.index(cert) + len(cert) :])

    def _issuer(self) -> Issued:
        """Return the authority that issues: the one whose key is there."""
        key = self.key.read_bytes()
        trusted = [pem.encode() for pem in self.trusted()]
        found = [pem for pem in trusted if is_key_of(key, pem)]
        if not found:
            raise Conflict(f"{self.key} is the key of none of the CAs in {self.bundle}")
        return Issued(found[0], key)

    def _mend(self, hosts: Sequence[str], now: datetime) -> None:
        """Bring everything in line with the key that is there: the rest follows from it."""
        issuer, coming = self._issuer(), self._coming()
        mine = issuer.cert.decode()
        if coming is not None and coming.key == issuer.key:
            self.next.unlink()
        trusted = self.trusted()
        if trusted[0] != mine:
            write_private(self.bundle, "".join([mine, *(pem for pem in trusted if pem != mine)]))
        pem = self.server.read_bytes() if self.server.exists() else b""
        wanted = list(hosts) or (names_of(pem) if pem else [])
        if wanted and not (
            is_key_of(pem, pem) and issued_by(issuer.cert, pem) and serves(pem, wanted, now)
        ):
            made = issue_server(issuer, wanted)
            write_private(self.server, made.cert + made.key)  # one file: never half of a pair
        (self.folder / "server.key").unlink(missing_ok=True)

    def _vouch(self, old: Issued, coming: Issued, now: datetime) -> None:
        given = self.vouchers()
        if follow(old.cert.decode(), coming.cert.decode(), given):
            return
        if (voucher := vouch(old, coming.cert, now)) is not None:
            path = self.folder / "vouchers.pem"
            write_private(path, "".join([*given, voucher.decode()]))
