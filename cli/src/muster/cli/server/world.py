"""What must be there before the first part starts: keys, certificates, the broker's file."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from muster.cli.server.layout import Layout
from muster.cli.server.settings import ServerSettings
from muster.kit.files import private_dir, write_private
from muster.kit.identity.broker import Listener, server_config
from muster.kit.identity.certificates import Issued, create_ca, issue_server, serves
from muster.kit.identity.world import World

if TYPE_CHECKING:
    from muster.cli.server.home import Where


def prepare(layout: Layout, options: ServerSettings, where: "Where") -> str:
    """Make what is missing; returns the path of the broker's CA, or nothing without TLS."""
    world = World.open(layout.root / "keys")
    world.write_creds(layout.root / "creds")
    ca, cert, key = _certificates(layout.root / "tls", where)
    listener = Listener(
        host=where.host,
        port=where.nats_port,
        monitor_port=where.monitor_port,
        disk=options.disk,
        cert=cert if where.tls else None,
        key=key if where.tls else None,
    )
    write_private(layout.nats / "nats.conf", server_config(world, layout.nats, listener))
    return str(ca) if where.tls else ""


def _certificates(folder: Path, where: "Where") -> tuple[Path, Path, Path]:
    """Return CA, certificate and key; the certificate is renewed a month before its end."""
    private_dir(folder)
    ca, ca_key = folder / "ca.pem", folder / "ca.key"
    cert, key = folder / "server.pem", folder / "server.key"
    if not ca_key.exists():
        made = create_ca()
        write_private(ca, made.cert)
        write_private(ca_key, made.key)
    anywhere = {"0.0.0.0", "::"}  # noqa: S104
    hosts = [h for h in (where.address, where.host, "localhost", "127.0.0.1") if h not in anywhere]
    if not cert.exists() or not serves(cert.read_bytes(), hosts, datetime.now(UTC)):
        issued = issue_server(Issued(ca.read_bytes(), ca_key.read_bytes()), hosts)
        write_private(key, issued.key)
        write_private(cert, issued.cert)
    return ca, cert, key
