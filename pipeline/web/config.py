"""The options of the web service."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from maskstream.core.errors import ConfigError

_MB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class WebConfig:
    """Options of the web service.

    Raises:
        ConfigError: an option is out of its range, or the service would be open to a network
            without tokens.
    """

    host: str = "127.0.0.1"
    """The address to listen on; without tokens only one of this machine alone."""

    port: int = 8000

    tokens_file: Path | None = None
    """Who may use the service; see ``tokens.py``."""

    admin_token: str | None = field(default=None, repr=False)
    """A token of an administrator, beside those of the file."""

    trusted_owner_header: str | None = None
    """The header in which a proxy in front of this service names the caller it has checked. The
    proxy must remove this header from what callers send."""

    tls_cert: Path | None = None
    tls_key: Path | None = None

    uploads: Path | None = None
    """The folder that uploads are written to. The runtime must be allowed to open it. None:
    uploads are refused."""

    max_upload_bytes: int = 4096 * _MB
    """Of one file."""

    max_uploads_bytes: int = 65536 * _MB
    """Of all files of the folder."""

    max_body_bytes: int = 32 * _MB
    """Of a request that is no upload."""

    max_connections: int = 2000
    max_streams_per_owner: int = 400
    """Connections that follow results."""

    requests_per_s: float = 50.0
    """Of one caller, on average; four times as many at once."""

    request_timeout_s: float = 30.0
    """The longest pause within the headers or the body of a request."""

    def __post_init__(self) -> None:
        for name in (
            "max_upload_bytes",
            "max_uploads_bytes",
            "max_body_bytes",
            "max_connections",
            "max_streams_per_owner",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 1 or more")
        for name in ("requests_per_s", "request_timeout_s"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} is {getattr(self, name)}; expected a positive number")
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port is {self.port}; expected 0 to 65535")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError("TLS needs both a certificate and its key; give both or neither")
        if not self.is_loopback and not self.has_callers:
            raise ConfigError(
                f"{self.host} can be reached from a network, so callers must be told apart: give "
                "a file of tokens (maskstream web-token makes one) or MASKSTREAM_TOKEN"
            )

    @property
    def is_loopback(self) -> bool:
        """Whether the address can be reached from this machine alone."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def has_callers(self) -> bool:
        """Whether callers have to say who they are."""
        return (
            self.tokens_file is not None
            or self.admin_token is not None
            or self.trusted_owner_header is not None
        )
