"""What the broker itself is told: ``nats.conf``."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from muster.kit.identity.world import World


@dataclass(frozen=True, slots=True)
class Listener:
    """Where the broker listens and what it may use."""

    host: str
    port: int
    monitor_port: int
    disk: int
    """Bytes that all streams together may store."""
    memory: int = 64 * 1024 * 1024
    cert: Path | None = None
    key: Path | None = None


def server_config(world: World, home: Path, listener: Listener) -> str:
    """Return the text of ``nats.conf`` for a broker that keeps its files in *home*.

    ``sync_interval: always``: without it, acknowledged messages are lost at a power failure.
    ``max_control_line``: the gateway's credentials, which name each call, have to fit into one.
    """
    quoted = partial(json.dumps, ensure_ascii=False)  # the broker knows no \uXXXX
    tls = ""
    if listener.cert and listener.key:
        files = f"cert_file: {quoted(str(listener.cert))}, key_file: {quoted(str(listener.key))}"
        tls = f'tls {{ {files}, handshake_first: true, min_version: "1.2" }}\n'
    host = f"[{listener.host}]" if ":" in listener.host else listener.host
    return f"""# written at {datetime.now(UTC).isoformat(timespec="seconds")}; changes are lost
server_name: muster
listen: {quoted(f"{host}:{listener.port}")}
http: "127.0.0.1:{listener.monitor_port}"
{tls}ping_interval: "5s"
ping_max: 2
max_payload: 1MB
max_control_line: 32KB
write_deadline: "10s"
pid_file: {quoted(str(home / "nats.pid"))}
log_file: {quoted(str(home / "nats.log"))}
logfile_size_limit: 10MB
logfile_max_num: 3
jetstream {{
  store_dir: {quoted(str(home / "js"))}
  sync_interval: always
  max_file_store: {listener.disk}
  max_memory_store: {listener.memory}
}}
operator: {quoted(world.operator_jwt())}
system_account: {world.system.public}
resolver: {{
  type: full
  dir: {quoted(str(home / "jwt"))}
  allow_delete: false
  interval: "2m"
}}
resolver_preload: {{
  {world.system.public}: {quoted(world.system_jwt())}
  {world.account.public}: {quoted(world.current_account_jwt())}
  {world.external.public}: {quoted(world.current_external_jwt())}
}}
"""
