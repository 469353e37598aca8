"""What the operator may set for the authority: ``MUSTER_AUTHORITY_*`` or ``[authority]``."""

import ipaddress
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, TypeAdapter, ValidationInfo, field_validator

from muster.contracts.names import Label
from muster.kit.service import ServiceSettings

_LABEL: Final = TypeAdapter(Label)


def _tag(text: str) -> str:
    key, there, value = text.partition("=")
    if not there:
        raise ValueError("give key=value")
    return f"{_LABEL.validate_python(key)}={_LABEL.validate_python(value)}"


Tag = Annotated[str, AfterValidator(_tag)]


class Settings(ServiceSettings):
    """Where the keys are, and how long what they sign is good for."""

    keys: Path | None = Field(default=None, description="directory of the server's keys")
    public_url: str = Field(default="", description="where people and hosts reach the gateway")
    node_urls: list[str] = Field(
        default=[], description="where nodes reach the broker; as the services do if empty"
    )
    ticket_seconds: float = Field(default=300, gt=0, description="life of a ticket, in seconds")
    idle_hours: float = Field(
        default=12, gt=0, description="hours without a request after which a session ends"
    )
    session_days: float = Field(default=30, gt=0, description="longest life of a session, in days")
    fresh_minutes: float = Field(
        default=10, gt=0, description="minutes for which a second factor counts as just shown"
    )
    head_minutes: float = Field(
        default=60, gt=0, description="minutes between two published heads of the audit"
    )
    approve_nodes: bool = Field(
        default=False, description="whether somebody has to approve every node that joins"
    )
    node_days: float = Field(default=30, gt=0, description="life of a node's credentials, in days")
    oidc_issuer: str = Field(
        default="", description="identity provider that people may log in through; none if empty"
    )
    oidc_client_id: str = Field(
        default="", validate_default=True, description="what the provider calls this server"
    )
    oidc_client_secret_file: Path | None = Field(
        default=None,
        validate_default=True,
        description="file with the secret that proves it to the provider, for its owner alone",
    )
    oidc_ca: Path | None = Field(
        default=None, description="CA of the provider, in PEM, if it is not a public one"
    )
    oidc_scopes: list[str] = Field(
        default=["openid", "profile", "email"], description="what the provider is asked for"
    )
    oidc_name: str = Field(
        default="OIDC", max_length=60, description="what people call the provider, on the button"
    )
    oidc_group_claim: str = Field(
        default="groups", description="where the provider says which groups a person is in"
    )
    oidc_roles: dict[str, list[Label]] = Field(
        default={}, description="roles by the provider's groups: admins=admin, ops=operator"
    )
    oidc_create_users: bool = Field(
        default=True, description="whether a stranger whose groups give a role gets an account"
    )

    @field_validator("oidc_issuer")
    @classmethod
    def _an_issuer(cls, url: str) -> str:
        if url and (not trusted(url) or "?" in url or "#" in url):
            raise ValueError("give an address like https://login.example.org")
        return url

    @field_validator("oidc_client_id", "oidc_client_secret_file")
    @classmethod
    def _all_or_nothing(cls, value: Any, info: ValidationInfo) -> Any:
        if info.data.get("oidc_issuer") and not value:
            raise ValueError("oidc_issuer needs it")
        return value

    @field_validator("oidc_scopes")
    @classmethod
    def _with_an_identity(cls, scopes: list[str]) -> list[str]:
        return scopes if "openid" in scopes else ["openid", *scopes]

    @field_validator("oidc_roles", mode="before")
    @classmethod
    def _a_table(cls, value: Any) -> Any:
        """Take ``group=role`` one after another for a table; a group's name may hold ``=``."""
        if isinstance(value, list):
            pairs = [str(one).rpartition("=") for one in value]
            if not all(group and role for group, _, role in pairs):
                raise ValueError("write group=role")
            value = {
                group: [role for other, _, role in pairs if other == group] for group, _, _ in pairs
            }
        if isinstance(value, dict):
            return {key: [one] if isinstance(one, str) else one for key, one in value.items()}
        return value

    join_ca: Path | None = Field(
        default=None, description="CAs (PEM) whose certificates let hosts join without a token"
    )
    join_crl: Path | None = Field(
        default=None, description="their revocation lists (PEM); then each must be current"
    )
    join_names: list[str] = Field(
        default=[],
        description="patterns of host names that may join by a certificate; * is any",
    )
    join_groups: list[Label] = Field(
        default=[], description="groups of the nodes that join by a certificate"
    )
    join_tags: list[Tag] = Field(
        default=[], description="tags of the nodes that join by a certificate, as key=value"
    )
    join_approve: bool = Field(
        default=True, description="whether somebody has to approve who joins by a certificate"
    )

    @property
    def keys_dir(self) -> Path:
        """The directory of the server's keys."""
        return self.keys or self.data_dir / "keys"


def trusted(url: str) -> bool:
    """Whether nobody between here and *url* can read or change what is said."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if not parts.hostname or parts.username:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))


def is_loopback(host: str) -> bool:
    """Whether *host* is this machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
