"""Certificates of the web server, as files: checked with the configuration, loaded by the web server.

OpenSSL judges whether they are of use, so that what passes here is what a handshake gets. What it says of a
wrong file is put into words that name the remedy.
"""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

from pydantic import AfterValidator

from poller.redaction import register_secret
from poller.settings.secrets import read_secret_bytes

if TYPE_CHECKING:
    from datetime import datetime

_LARGEST = 4 * 1024 * 1024
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")
_UNREADABLE = "{} holds a certificate that cannot be read; write a new one"
_KEY_LINE = re.compile(rb"^[A-Za-z0-9+/=]{16,}\r?$", re.MULTILINE)


def server_context(cert_file: Path, key_file: Path, client_ca_file: Path | None) -> ssl.SSLContext:
    """What a server needs for handshakes, from its files as they are now.

    Args:
        cert_file: The certificate and what links it to its authority, in PEM form.
        key_file: Its key.
        client_ca_file: If given, clients have to show a certificate of one of these authorities.

    Raises:
        ValueError: A file is of no use; the message names it, and holds nothing of a key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    load_pair(context, cert_file, key_file)
    if client_ca_file is not None:
        load_authorities(context, client_ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def load_pair(context: ssl.SSLContext, cert_file: Path, key_file: Path) -> None:
    """Load a certificate with its key.

    Raises:
        ValueError: As `server_context`.
    """
    _certificates(cert_file)
    # What OpenSSL says of a key could come with some of it; and the file may be a pipe without a writer.
    register_secret(*(line.decode() for line in _KEY_LINE.findall(read_secret_bytes(key_file))))
    try:
        context.load_cert_chain(cert_file, key_file, password=_refuse_to_ask)
    except (ssl.SSLError, OSError) as error:
        raise ValueError(_explained(error, cert_file, key_file)) from None


def load_authorities(context: ssl.SSLContext, path: Path) -> None:
    """Trust the authorities in a file.

    Raises:
        ValueError: As `server_context`.
    """
    found = _certificates(path)
    try:
        context.load_verify_locations(cadata="\n".join(found))
    except ssl.SSLError:
        raise ValueError(_UNREADABLE.format(path)) from None


def not_after(cert_file: Path) -> datetime:
    """When the first certificate of a file, the server's own, ends.

    Raises:
        ValueError: The file holds none that can be read.
    """
    from cryptography import x509  # noqa: PLC0415 - only a server with TLS needs it

    try:
        return x509.load_pem_x509_certificate(
            _certificates(cert_file)[0].encode("latin-1")
        ).not_valid_after_utc
    except ValueError:
        raise ValueError(_UNREADABLE.format(cert_file)) from None


def _certificates(path: Path) -> list[str]:
    try:
        if not path.is_file():
            path.stat()
            raise ValueError(f"{path} is not a regular file; name a file of certificates in PEM form")
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise ValueError(
            f"cannot read {path}: {error.strerror}; check the path and its permissions"
        ) from error
    if len(content) > _LARGEST:
        raise ValueError(f"{path} is larger than 4 MiB, which no chain of certificates is; check the path")
    found = _PEM.findall(content.decode("latin-1"))
    if not found:
        raise ValueError(f"{path} holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)")
    return found


def _refuse_to_ask() -> NoReturn:
    # Otherwise OpenSSL would ask for the password on the terminal.
    raise _EncryptedError


class _EncryptedError(OSError):
    """The key asks for a password."""


def _explained(error: OSError, cert_file: Path, key_file: Path) -> str:
    if isinstance(error, _EncryptedError):
        return f"{key_file} asks for a password; keep the key without one, readable by this program alone"
    reason = getattr(error, "reason", None) or ""
    if reason == "KEY_VALUES_MISMATCH":
        return f"{key_file} is not the key of the certificate in {cert_file}; the first one there has to be"
    if "TOO_SMALL" in reason or "TOO_WEAK" in reason:
        return f"{cert_file} is refused as too weak ({reason}); use RSA from 2048 bits on, or ECDSA"
    return f"{cert_file} and {key_file} cannot be used ({reason or 'no key'}); both have to be in PEM form"


def _check(path: Path) -> Path:
    load_authorities(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), path)
    return path


CertificateFile = Annotated[Path, AfterValidator(_check)]
"""The path of a file that held nothing but readable certificates when the configuration was read."""
