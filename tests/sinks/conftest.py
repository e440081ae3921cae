"""What the tests of sinks share."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from moto.server import ThreadedMotoServer

from tests.sinks.samples import serving_with

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def aws() -> Iterator[str]:
    """Serve AWS, as far as moto goes, on loopback."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the SDK credentials, and no others to find."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAC4NARY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret-canary")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "t0ken-canary")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Let names resolve as told: each lookup takes the next answer and stays at the last.

    An answer is one or several addresses, separated by spaces; with no answer at all the name is unknown.
    """
    answers: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def lookup(host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        if host not in answers:
            return real(host, port, *args, **kwargs)
        left = answers[host]
        if not left:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        found = left.pop(0) if len(left) > 1 else left[0]
        return [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                socket.SOCK_STREAM,
                socket.IPPROTO_TCP,
                "",
                (address, port, 0, 0) if ":" in address else (address, port),
            )
            for address in found.split()
        ]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    return answers


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A throwaway certificate authority."""
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    """The authority's certificate as a file."""
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return file


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """Serves TLS on loopback with a certificate of the authority."""
    return serving_with(authority.issue_cert("127.0.0.1"))
