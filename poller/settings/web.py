"""The settings of the web server: where it listens, its certificates, and its users."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from poller.settings.certificates import CertificateFile, load_pair
from poller.settings.passwords import PasswordHash, TokensFile, UserName, UsersFile, read_tokens, read_users
from poller.settings.secrets import read_secret_bytes
from poller.settings.types import Listen, Section


class TlsSettings(Section):
    """Certificates of the web server. They are read again when the files change, and at a reload."""

    cert_file: CertificateFile
    """Certificate in PEM form, followed by its chain."""
    key_file: Path
    """Key of the certificate in PEM form, without a password."""
    client_ca_file: CertificateFile | None = None
    """Authorities in PEM form, from which every client needs a certificate."""

    @field_validator("key_file")
    @classmethod
    def _belongs_to_the_certificate(cls, path: Path, info: ValidationInfo) -> Path:
        cert_file = info.data.get("cert_file")
        if cert_file is None:
            read_secret_bytes(path)
        else:
            load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), cert_file, path)
        return path


class AuthSettings(Section):
    """The users of the web server. Health endpoints are open to all."""

    basic_auth_users: Mapping[UserName, PasswordHash] = Field(default={})
    """Users with their bcrypt hashes, as `htpasswd -nB NAME` prints them."""
    basic_auth_users_file: UsersFile | None = None
    """File of users, as `htpasswd -B` writes it, read for every request."""
    token_file: TokensFile | None = None
    """File of bearer tokens, one per line, read for every request."""

    @model_validator(mode="after")
    def _lets_somebody_in(self) -> AuthSettings:
        if not (self.basic_auth_users or self.basic_auth_users_file or self.token_file):
            raise ValueError("lets no user in; set basic_auth_users, basic_auth_users_file or token_file")
        return self

    @property
    def schemes(self) -> tuple[str, ...]:
        """The ways to authenticate that are configured: `Basic`, `Bearer`."""
        basic = bool(self.basic_auth_users or self.basic_auth_users_file)
        return ("Basic",) * basic + ("Bearer",) * (self.token_file is not None)

    def read_users(self) -> dict[str, str]:
        """The hash of each user, those of the file as it is now; those of the configuration go before them.

        Raises:
            ValueError: The file cannot be used any more.
        """
        users = read_users(self.basic_auth_users_file) if self.basic_auth_users_file else {}
        return users | {name: each.get_secret_value() for name, each in self.basic_auth_users.items()}

    def read_tokens(self) -> list[str]:
        """The tokens, of the file as it is now.

        Raises:
            ValueError: The file cannot be used any more.
        """
        return read_tokens(self.token_file) if self.token_file else []


class WebSettings(Section):
    """The web server: metrics, health, the status page and the API."""

    listen: Listen | None = "127.0.0.1:9477"
    """`host:port`, with an IPv6 address in brackets. Port 0 takes a free one, which the log names. `null`
    disables the server."""
    reload: bool = False
    """Whether `POST /-/reload` reloads the configuration, as SIGHUP always does. Browsers are refused."""
    tls: TlsSettings | None = None
    """HTTPS from TLS 1.2 on. Default: HTTP."""
    auth: AuthSettings | None = None
    """Users and tokens that may access the server. Default: no authentication."""

    @field_validator("tls", "auth", mode="before")
    @classmethod
    def _not_emptied(cls, value: Any) -> Any:
        # With every line below the key commented out, a user does not expect open doors.
        if value is None:
            raise ValueError("is empty")
        return value

    @property
    def is_guarded(self) -> bool:
        """Whether clients have to say who they are, by a password, a token or a certificate."""
        return self.auth is not None or (self.tls is not None and self.tls.client_ca_file is not None)

    @property
    def address(self) -> tuple[str, int] | None:
        """Host, without brackets, and port; `None` for no web server."""
        if self.listen is None:
            return None
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)
