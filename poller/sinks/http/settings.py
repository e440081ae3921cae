"""The settings of every sink that posts to a URL; a wrong value or file is found when they are read."""

from __future__ import annotations

import base64
import ssl
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated
from urllib.request import getproxies, proxy_bypass

from pydantic import Field, IPvAnyNetwork, PrivateAttr, SecretStr, model_validator
from yarl import URL

from poller.settings.secrets import read_secret_file, refuse_placeholder
from poller.settings.sinks import SinkSettings, checked
from poller.sinks.http.credentials import check_header_names, check_header_value, read_header

_ENVIRONMENT = "environment"


def _parse(text: str) -> URL:
    """Parse a receiver's URL; a ValueError does not show it."""
    refuse_placeholder(text)
    if any(not character.isprintable() or character.isspace() for character in text):
        raise ValueError("a url holds no white space and no control characters")
    try:
        url = URL(text)
        valid = url.scheme in {"http", "https"} and bool(url.host) and url.port != 0
    except (ValueError, IndexError):  # the latter for `http://[]@`
        valid = False
    if not valid:
        raise ValueError("not a url to post to; write https://host/path or http://host:port/path")
    host = url.host or ""
    if host.replace(".", "").isdigit() and not _is_ipv4(host):
        raise ValueError("the host of the url is a number; write an IPv4 address as four decimal parts")
    return url


def _parse_proxy(text: str) -> URL:
    """Parse a proxy's URL; a ValueError does not show it."""
    try:
        url = _parse(text)
    except ValueError as error:
        raise ValueError(f"the proxy is {error}; or write environment") from None
    if url.path not in {"", "/"} or url.query_string:
        raise ValueError("the proxy's url has more than a host and a port; write http://host:port")
    return url


def read_proxy_auth(path: Path) -> str:
    """The header that a file with `user:password` stands for.

    Raises:
        ValueError: As `read_secret_file`, or it has another form; the message names the file alone.
    """
    text = read_secret_file(path).strip()
    if ":" not in text or not text.isprintable():
        raise ValueError(f"{path} does not hold user:password")
    return f"Basic {base64.b64encode(text.encode()).decode()}"


def _text(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""


def _read_url(path: Path) -> URL:
    """Read a file that holds a URL; a ValueError names the file alone."""
    text = read_secret_file(path).strip()
    try:
        return _parse(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _is_ipv4(host: str) -> bool:
    try:
        return str(IPv4Address(host)) == host
    except ValueError:
        return False


def trusting(path: Path) -> ssl.SSLContext:
    """Make a TLS context that trusts only the authorities in `path`.

    Raises:
        ValueError: The file cannot be read or holds no certificate; the message names it.
    """
    try:
        context = ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        raise ValueError(f"{path} holds no certificates in PEM form") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    context.set_alpn_protocols(["http/1.1"])
    return context


def _check_proxy(proxy: str) -> None:
    if proxy != _ENVIRONMENT:
        _parse_proxy(proxy)


class HttpSettings(SinkSettings):
    """What every sink has that posts to a URL of the operator's choice."""

    url: Annotated[SecretStr, checked(_parse)] | None = None
    """Address to post to, http or https. All but its host is treated as a secret."""
    url_file: Annotated[Path, checked(_read_url)] | None = None
    """File with the URL, read at the start and at a reload."""
    headers: Annotated[dict[str, SecretStr], checked(check_header_value)] = Field(default_factory=dict)
    """Additional request headers, such as `authorization`."""
    header_files: Annotated[dict[str, Path], checked(read_header)] = Field(default_factory=dict)
    """Additional request headers with values from files, read at every attempt."""
    ca_file: Annotated[Path, checked(trusting)] | None = None
    """Certificate authorities to trust, in PEM form, instead of the system's."""
    proxy: Annotated[SecretStr, checked(_check_proxy)] | None = None
    """HTTP proxy, such as `http://proxy.example.com:3128`, or `environment` for `HTTPS_PROXY`,
    `HTTP_PROXY` and `NO_PROXY`. Default: no proxy."""
    proxy_auth_file: Annotated[Path, checked(read_proxy_auth)] | None = None
    """File with `user:password` for the proxy, read at every attempt."""
    allow_networks: list[IPvAnyNetwork] = Field(default_factory=list)
    """If set, connect only to these networks, such as `10.0.0.0/8`."""
    deny_networks: list[IPvAnyNetwork] = Field(default_factory=list)
    """Networks to refuse. Link-local and metadata addresses are always refused."""

    _address: URL = PrivateAttr()

    @property
    def address(self) -> URL:
        """Where to post, wherever that was configured; a secret."""
        return self._address

    @property
    def safe_url(self) -> str:
        """Scheme, host and port: what may be shown of the URL."""
        return str(self._address.origin())

    @property
    def reads_files(self) -> bool:
        """Whether an attempt reads files, which does not belong on the loop."""
        return bool(self.header_files) or self.proxy_auth_file is not None

    @property
    def proxy_url(self) -> URL | None:
        """The proxy to post through; a secret, as it may hold a password."""
        given = _text(self.proxy)
        if given == _ENVIRONMENT:
            found = getproxies().get(self._address.scheme)
            return None if not found or proxy_bypass(self._address.host or "") else _parse_proxy(found)
        return _parse_proxy(given) if given else None

    @model_validator(mode="after")
    def _check_together(self) -> HttpSettings:
        if (self.url is None) == (self.url_file is None):
            raise ValueError("needs a url: either url itself, or url_file, and not both")
        self._address = _read_url(self.url_file) if self.url_file else _parse(_text(self.url))
        if self.proxy_auth_file is not None and self.proxy is None:
            raise ValueError("proxy_auth_file is for a proxy; set proxy as well, or remove it")
        self.proxy_url  # noqa: B018 - a proxy of the environment that is of no use is a mistake as well
        names = [*self.headers, *self.header_files]
        check_header_names(names)
        if self._address.user and "authorization" in map(str.lower, names):
            raise ValueError("the url holds credentials, and the header authorization is configured as well")
        return self
