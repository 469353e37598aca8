"""The server's own CA, told to those who trust an earlier one.

Nodes hear of another CA with their credentials, sealed; who has missed it is told the same by the
gateway, which is not trusted with it: the seal is the proof.
"""

from muster.authority.part import Part
from muster.contracts.authority import CaNotice
from muster.contracts.base import Nothing
from muster.contracts.certificates import CA_NEWS, CaNews
from muster.kit.bus import Caller, answers
from muster.kit.identity.authorities import Authorities, give_notice
from muster.kit.identity.rotation import Rotation

NOTICES = 64
"""Of other signing keys, that are told."""


class CaCalls(Part):
    """What anybody may know of the CA."""

    @answers(CA_NEWS)
    async def ca_news(self, ask: Nothing, caller: Caller) -> CaNews:  # noqa: ARG002
        """Tell which CAs are trusted, and everything that proves it."""
        ca = self.tools.settings.ca
        return CaNews(
            ca=self.ca_bundle(),
            vouchers=Authorities(ca.parent).vouchers() if ca else [],
            notice=self.ca_notice(),
            keys=Rotation(self.tools.settings.keys_dir).notices()[-NOTICES:],
        )

    def ca_bundle(self) -> str:
        """Return the CAs of the broker, as the file says at this moment; nothing without TLS."""
        ca = self.tools.settings.ca
        return ca.read_text() if ca else ""

    def ca_notice(self) -> CaNotice | None:
        """Return that, sealed by the key that signs at this moment."""
        bundle = self.ca_bundle()
        return give_notice(bundle, self.tools.world.authority_key) if bundle else None
