"""HTTPS over a real socket: certificates that change, clients that have to show one, and old versions."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import urllib.error
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import structlog
import trustme

from poller.errors import PollerError
from poller.settings.web import TlsSettings
from poller.web.tls import CurrentCertificates
from tests.web.test_server import Answer, Site, request, site

if TYPE_CHECKING:
    from pathlib import Path

    from poller.web import WebServer

__all__ = ["site"]

OURS, THEIRS = trustme.CA(), trustme.CA()


def trusting(authority: trustme.CA, client: trustme.LeafCert | None = None) -> ssl.SSLContext:
    """What a client has, perhaps with a certificate of its own."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if client is not None:
        client.configure_cert(context)
    return context


def issue(folder: Path, authority: trustme.CA) -> None:
    """Write a new certificate, and its key."""
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")


def settings(folder: Path, **more: Path) -> TlsSettings:
    """Settings of the files in a folder."""
    return TlsSettings.model_validate(
        {"cert_file": folder / "cert.pem", "key_file": folder / "key.pem", **more}
    )


@pytest.fixture
def secure(site: Site, tmp_path: Path) -> Site:
    """A site with a certificate of ours."""
    issue(tmp_path, OURS)
    site.tls = settings(tmp_path)
    site.trust = trusting(OURS)
    return site


async def ask(server: WebServer, trust: ssl.SSLContext) -> int:
    """The status of a request on a new connection."""
    answer: Answer = await asyncio.to_thread(request, server.url + "/-/healthy", "GET", {}, trust)
    return answer.status


def test_it_serves_https(secure: Site) -> None:
    """To those who trust its authority, by a URL that says so; the metric tells when the certificate ends."""
    assert [answer.status for answer in secure.ask("/-/healthy", "/metrics")] == [200, 200]

    async def main() -> str:
        async with secure.serving() as server:
            return server.url

    assert asyncio.run(main()).startswith("https://127.0.0.1:")
    value = secure.metrics.registry.get_sample_value(
        "bedrock_poller_web_certificate_not_after_timestamp_seconds"
    )
    assert value is not None
    assert datetime.fromtimestamp(value, UTC) > datetime.now(UTC)


def test_it_serves_nothing_else(secure: Site) -> None:
    """Plain HTTP and versions before TLS 1.2 are refused, and it by who does not trust it (fault 47)."""

    async def main() -> None:
        async with secure.serving() as server:
            with pytest.raises(OSError, match=r".*"):
                await asyncio.to_thread(request, server.url.replace("https", "http"))
            with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
                await ask(server, trusting(THEIRS))
            old = trusting(OURS)
            with pytest.warns(DeprecationWarning, match="TLSv1_1"):
                old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
            old.set_ciphers("ALL:@SECLEVEL=0")
            assert await asyncio.to_thread(refused, server.port, old)
            at_least = trusting(OURS)
            at_least.maximum_version = ssl.TLSVersion.TLSv1_2
            assert await ask(server, at_least) == 200

    asyncio.run(main())


def test_a_new_certificate_is_taken_without_a_new_listener(secure: Site, tmp_path: Path) -> None:
    """The next connection gets it; one that is open goes on; a half-written pair changes nothing."""

    async def main() -> list[str]:
        async with secure.serving() as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=trusting(OURS))
            assert await ask(server, trusting(OURS)) == 200
            fresh = THEIRS.issue_cert("127.0.0.1")
            fresh.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
            with structlog.testing.capture_logs() as lines:
                assert await ask(server, trusting(OURS)) == 200
                assert await ask(server, trusting(OURS)) == 200
                fresh.private_key_pem.write_to_path(tmp_path / "key.pem")
                assert await ask(server, trusting(THEIRS)) == 200
            with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
                await ask(server, trusting(OURS))
            writer.write(b"GET /-/healthy HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            assert b"healthy" in await reader.read()
            writer.close()
            return [line["event"] for line in lines]

    assert asyncio.run(main()) == ["web.certificate_unusable", "web.certificate_changed"]


def test_links_that_are_turned_are_noticed(secure: Site, tmp_path: Path) -> None:
    """As Kubernetes turns them when it renews a secret; a file that is gone changes nothing."""
    for name, authority in (("one", OURS), ("two", THEIRS)):
        (tmp_path / name).mkdir()
        issue(tmp_path / name, authority)
    (tmp_path / "data").symlink_to("one")
    secure.tls = settings(tmp_path / "data")

    async def main() -> None:
        async with secure.serving() as server:
            assert await ask(server, trusting(OURS)) == 200
            (tmp_path / "next").symlink_to("two")
            os.replace(tmp_path / "next", tmp_path / "data")  # noqa: PTH105 - replaces the link
            assert await ask(server, trusting(THEIRS)) == 200
            (tmp_path / "data").unlink()
            with structlog.testing.capture_logs() as lines:
                assert await ask(server, trusting(THEIRS)) == 200
            assert "cert.pem: No such file" in lines[0]["error"]

    asyncio.run(main())


def test_a_reload_looks_at_the_files(secure: Site, tmp_path: Path) -> None:
    """Without a connection as well, so that the log says at once what became of them."""

    async def main() -> None:
        async with secure.serving() as server:
            with structlog.testing.capture_logs() as lines:
                server.refresh()
                issue(tmp_path, OURS)
                server.refresh()
                (tmp_path / "key.pem").write_text("nonsense")
                server.refresh()
            assert [line["event"] for line in lines] == [
                "web.certificate_changed",
                "web.certificate_unusable",
            ]
            assert "both have to be in PEM form" in lines[1]["error"]

    asyncio.run(main())


def refused(port: int, trust: ssl.SSLContext) -> bool:
    """Whether the handshake is refused, before anything that was asked is answered."""
    with socket.create_connection(("127.0.0.1", port), 10) as plain:
        try:
            with trust.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped:
                # With TLS 1.3 a client learns of it when it reads.
                wrapped.sendall(b"GET /-/healthy HTTP/1.1\r\nhost: a\r\n\r\n")
                return not wrapped.recv(1)
        except (ssl.SSLError, ConnectionError):
            return True


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_clients_have_to_show_a_certificate(secure: Site, tmp_path: Path, version: ssl.TLSVersion) -> None:
    """One of the right authority; others are refused at the handshake, for health as well (fault 47)."""
    clients = trustme.CA()
    clients.cert_pem.write_to_path(tmp_path / "clients.pem")
    secure.tls = settings(tmp_path, client_ca_file=tmp_path / "clients.pem")
    certificate = clients.issue_cert("prometheus")

    def client(certificate: trustme.LeafCert | None) -> ssl.SSLContext:
        context = trusting(OURS, certificate)
        context.minimum_version = context.maximum_version = version
        return context

    async def main() -> None:
        async with secure.serving() as server:
            for stranger in (None, THEIRS.issue_cert("prometheus"), OURS.issue_cert("prometheus")):
                assert await asyncio.to_thread(refused, server.port, client(stranger))
            assert not await asyncio.to_thread(refused, server.port, client(certificate))
            # An authority that is trusted no more is trusted no more.
            THEIRS.cert_pem.write_to_path(tmp_path / "clients.pem")
            assert await asyncio.to_thread(refused, server.port, client(certificate))
            assert not await asyncio.to_thread(refused, server.port, client(THEIRS.issue_cert("prometheus")))

    asyncio.run(main())


def test_files_that_broke_since_the_configuration_was_read(secure: Site, tmp_path: Path) -> None:
    """Are an error with a name at the start."""
    assert secure.tls is not None
    (tmp_path / "key.pem").unlink()
    with pytest.raises(PollerError, match=r"web.tls: cannot read .*key.pem: No such file"):
        CurrentCertificates(secure.tls, secure.metrics)
