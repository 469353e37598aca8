"""What must be there before the first part starts: keys, certificates, the broker's file."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from muster.cli.server.layout import Layout
from muster.cli.server.settings import ServerSettings
from muster.kit.files import write_private
from muster.kit.identity.authorities import Authorities
from muster.kit.identity.broker import Listener, server_config
from muster.kit.identity.world import World

if TYPE_CHECKING:
    from muster.cli.server.home import Where

_ANYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104


def prepare(layout: Layout, options: ServerSettings, where: "Where") -> str:
    """Make what is missing; returns the path of the broker's CA, or nothing without TLS."""
    World.open(layout.root / "keys").write_creds(layout.root / "creds")
    hosts = (where.address, where.host, "localhost", "127.0.0.1")
    authorities = Authorities(layout.tls)
    authorities.open([host for host in hosts if host not in _ANYWHERE], datetime.now(UTC))
    write_config(layout, options, where)
    return str(authorities.bundle) if where.tls else ""


def write_config(layout: Layout, options: ServerSettings, where: "Where") -> None:
    """Write the broker's file, with the account as it is now: a reload takes no one in again."""
    server = Authorities(layout.tls).server if where.tls else None
    listener = Listener(
        host=where.host,
        port=where.nats_port,
        monitor_port=where.monitor_port,
        disk=options.disk,
        cert=server,
        key=server,
    )
    world = World.open(layout.root / "keys")
    write_private(layout.nats / "nats.conf", server_config(world, layout.nats, listener))
