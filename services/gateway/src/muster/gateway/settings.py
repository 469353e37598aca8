"""The gateway's settings: ``MUSTER_GATEWAY_*`` and the section ``[gateway]``."""

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from muster.kit.service import ServiceSettings


class Settings(ServiceSettings):
    """What the gateway can be told."""

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8420, ge=0, le=65535, description="port to listen on; 0: any")
    tls_cert: Path | None = Field(default=None, description="certificate chain in PEM")
    tls_key: Path | None = Field(default=None, description="its private key in PEM")
    web_ca: Path | None = Field(
        default=None, description="CA of the certificate, if it is not a public one"
    )
    public_url: str = Field(
        default="", description="the address that people and hosts use, if not the one listened on"
    )
    dashboard: str = Field(
        default="", description="where the dashboard listens: unix:/path or http://127.0.0.1:port"
    )
    trusted_proxies: list[str] = Field(
        default=[], description="addresses of reverse proxies whose X-Forwarded-* are believed"
    )
    max_connections: int = Field(default=4096, ge=1, description="connections at a time")
    max_body: int = Field(default=1 << 20, ge=1024, description="bytes of a request's body")
    joins_per_minute: int = Field(
        default=20, ge=1, description="attempts to join from one address in a minute"
    )
    logins_per_minute: int = Field(
        default=60, ge=1, description="attempts to log in from one address in a minute"
    )
    access_log: bool = Field(default=True, description="log every request")

    @field_validator("public_url")
    @classmethod
    def _an_origin(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and (parts.scheme not in {"http", "https"} or not parts.netloc):
            raise ValueError("give an address like https://muster.example")
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError("the gateway cannot live under a path")
        return url.rstrip("/")

    @field_validator("dashboard")
    @classmethod
    def _an_upstream(cls, target: str) -> str:
        if target and not target.startswith(("unix:/", "http://")):
            raise ValueError("give unix:/path or http://127.0.0.1:port")
        return target.rstrip("/")

    @property
    def secure(self) -> bool:
        """Whether browsers speak TLS with the gateway, or with a proxy before it."""
        return self.tls_cert is not None or self.public_url.startswith("https:")

    def ca_text(self) -> str:
        """Return the PEM of the CA that a host needs to trust the gateway, or nothing."""
        return self.web_ca.read_text() if self.web_ca else ""
