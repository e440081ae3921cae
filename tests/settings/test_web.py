"""The settings of the web server: certificates, users and tokens, and what is said of wrong ones."""

from __future__ import annotations

import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import bcrypt
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from poller.app.configuration import load_with_warnings
from poller.redaction import redact
from poller.settings.certificates import not_after
from tests.settings.samples import load_text, problems_in

if TYPE_CHECKING:
    from collections.abc import Iterator

HASH = "$2b$04$zVL8efiZ6XIOtQSU3WAn0er016K8t8jxX/OxjEG0q2p2BXaEjDnwy"
TOKEN = "a-token-that-is-long-enough"
AUTHORITY = trustme.CA()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a certificate, its key, the authority, a key of somebody else, and nonsense."""
    certificate = AUTHORITY.issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    AUTHORITY.cert_pem.write_to_path(tmp_path / "ca.pem")
    AUTHORITY.issue_cert("localhost").private_key_pem.write_to_path(tmp_path / "other.pem")
    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    (tmp_path / "locked.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        )
    )
    (tmp_path / "nonsense.pem").write_text("nonsense")
    (tmp_path / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    return tmp_path


def tls(folder: Path, cert: str = "cert", key: str = "key", authority: str = "ca") -> str:
    """A configuration with these files."""
    return (
        f"web:\n  tls:\n    cert_file: {folder}/{cert}.pem\n"
        f"    key_file: {folder}/{key}.pem\n    client_ca_file: {folder}/{authority}.pem\n"
    )


def test_certificates_that_fit_are_accepted(folder: Path) -> None:
    """As files of their own or as one file, with an authority for clients or without."""
    assert load_text(folder, tls(folder)).web.tls is not None
    both = load_text(folder, tls(folder, "both", "both")).web.tls
    assert both is not None
    assert both.cert_file == both.key_file


@pytest.mark.parametrize(
    ("files", "line", "key", "what"),
    [
        ({"cert": "none"}, 3, "cert_file", "No such file or directory; check the path"),
        ({"cert": "nonsense"}, 3, "cert_file", "holds no certificate in PEM form"),
        ({"cert": "broken"}, 3, "cert_file", "holds a certificate that cannot be read"),
        ({"key": "none"}, 4, "key_file", "No such file or directory; check the path"),
        ({"key": "nonsense"}, 4, "key_file", "both have to be in PEM form"),
        ({"key": "other"}, 4, "key_file", "is not the key of the certificate in"),
        ({"key": "locked"}, 4, "key_file", "asks for a password; keep the key without one"),
        ({"authority": "none"}, 5, "client_ca_file", "No such file or directory; check the path"),
        ({"authority": "key"}, 5, "client_ca_file", "holds no certificate in PEM form"),
        ({"authority": "broken"}, 5, "client_ca_file", "holds a certificate that cannot be read"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(
    folder: Path, files: dict[str, str], line: int, key: str, what: str
) -> None:
    """What is wrong with a certificate, key or authority, where, and what to do (fault 42)."""
    (problem,) = problems_in(folder, tls(folder, **files))
    assert (problem.line, problem.where) == (line, f"web.tls.{key}")
    assert what in problem.what


def test_several_wrong_files_are_named_at_once(folder: Path) -> None:
    """The key is looked at even without a certificate to hold it against; huge files are not read."""
    (folder / "huge.pem").write_bytes(b" " * 5_000_000)
    (folder / "pipe.pem").mkdir()
    problems = problems_in(folder, tls(folder, "huge", "huge", "pipe"))
    assert ["larger than 4 MiB" in each.what for each in problems] == [True, False, False]
    assert "more than 64 KiB" in problems[1].what
    assert "not a regular file" in problems[2].what


def test_a_weak_key_is_refused_with_a_remedy(folder: Path) -> None:
    """OpenSSL's own limits are put into words."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is the point
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "weak")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    (folder / "weak.pem").write_bytes(
        certificate
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    (problem,) = problems_in(folder, tls(folder, "weak", "weak"))
    assert "is refused as too weak (EE_KEY_TOO_SMALL); use RSA from 2048 bits on" in problem.what


def test_when_a_certificate_ends(tmp_path: Path) -> None:
    """It is the server's own that counts, not the chain."""
    path, until = tmp_path / "cert.pem", datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    AUTHORITY.issue_cert("a", not_after=until).cert_chain_pems[0].write_to_path(path)
    AUTHORITY.cert_pem.write_to_path(path, append=True)
    assert not_after(path) == until


def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """PEM around something else; the message names the file and the remedy."""
    path = tmp_path / "cert.pem"
    path.write_text(ssl.DER_cert_to_PEM_cert(b"no certificate"))
    with pytest.raises(ValueError, match=r"cert\.pem holds a certificate that cannot be read; write"):
        not_after(path)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user of the machine can look into."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_what_is_a_risk_and_no_mistake_is_told(open_folder: Path) -> None:
    """A key that everybody can read, and a certificate that has ended; neither keeps it from starting."""
    old = AUTHORITY.issue_cert("a", not_before=datetime(2000, 1, 1), not_after=datetime(2001, 1, 1))  # noqa: DTZ001
    old.cert_chain_pems[0].write_to_path(open_folder / "cert.pem")
    old.private_key_pem.write_to_path(open_folder / "key.pem")
    AUTHORITY.cert_pem.write_to_path(open_folder / "ca.pem")
    for each in open_folder.iterdir():
        each.chmod(0o644)
    config = open_folder / "config.yaml"
    config.write_text(tls(open_folder))
    _, risks = load_with_warnings(config, {"HOME": str(open_folder)})
    assert [(risk.event, Path(risk.details["file"]).name) for risk in risks] == [
        ("secret_file.exposed", "key.pem"),
        ("certificate.expired", "cert.pem"),
    ]
    assert "can read it (mode 0644); chmod 600" in str(risks[0])
    assert "ended on 2001-01-01; have it renewed" in str(risks[1])


def test_a_key_is_struck_from_logs(folder: Path) -> None:
    """Every line of it."""
    load_text(folder, tls(folder))
    lines = (folder / "key.pem").read_text().splitlines()
    text = " ".join(lines)
    assert redact(text).split().count("[secret]") >= len(lines) - 3


def test_users_may_stand_in_the_configuration_and_in_a_file(tmp_path: Path) -> None:
    """As htpasswd writes them, with comments; those of the configuration go before them."""
    other = HASH.replace("$2b$", "$2y$")
    users = tmp_path / "users"
    users.write_text(f"# who\n\nprometheus:{other}\nané:{other}\n")
    text = f"web: {{auth: {{basic_auth_users: {{prometheus: '{HASH}'}}, basic_auth_users_file: {users}}}}}"
    settings = load_text(tmp_path, text)
    assert settings.web.auth is not None
    assert settings.web.auth.read_users() == {"prometheus": HASH, "ané": other}
    assert settings.web.auth.schemes == ("Basic",)
    assert HASH not in repr(settings)
    assert bcrypt.checkpw(b"x", HASH.encode())


def test_tokens_are_in_a_file(tmp_path: Path) -> None:
    """One a line, so that one can be replaced without a gap."""
    path = tmp_path / "tokens"
    path.write_text(f"{TOKEN}-old\n{TOKEN}\n")
    auth = load_text(tmp_path, f"web: {{auth: {{token_file: {path}}}}}").web.auth
    assert auth is not None
    assert auth.read_tokens() == [f"{TOKEN}-old", TOKEN]
    assert auth.read_users() == {}
    assert auth.schemes == ("Bearer",)


@pytest.mark.parametrize(
    ("auth", "key", "what"),
    [
        ("{}", "", "lets no user in; set basic_auth_users, basic_auth_users_file or token_file"),
        ("", "", "has no value; give it one, or remove the key"),
        ("{users: {}}", ".users", "is not a known key"),
        ("{basic_auth_users: {a: plain}}", ".basic_auth_users.a", "is not a bcrypt hash"),
        (f"{{basic_auth_users: {{a: '{HASH}x'}}}}", ".basic_auth_users.a", "is not a bcrypt hash"),
        (f"{{basic_auth_users: {{a: '{HASH.replace('04', '20')}'}}}}", ".basic_auth_users.a", "a cost of 20"),
        (f"{{basic_auth_users: {{a: '{HASH.replace('04', '03')}'}}}}", ".basic_auth_users.a", "a cost of 3"),
        (f"{{basic_auth_users: {{'a:b': '{HASH}'}}}}", '.basic_auth_users["a:b"]', "and no colon"),
        ("{token_file: none}", ".token_file", "cannot read none: No such file"),
    ],
)
def test_what_is_wrong_with_users_is_told(tmp_path: Path, auth: str, key: str, what: str) -> None:
    """With the line and the remedy, and without the hash (fault 42)."""
    (problem,) = problems_in(tmp_path, f"web:\n  auth: {auth}")
    assert (problem.line, problem.where) == (2, f"web.auth{key}")
    assert what in problem.what
    assert "plain" not in problem.what
    assert HASH[7:] not in problem.what


@pytest.mark.parametrize(
    ("key", "content", "what"),
    [
        ("basic_auth_users_file", f"a:{HASH}\nb:canary", "line 2: is not a bcrypt hash"),
        ("basic_auth_users_file", f"a:{HASH}\na:{HASH}", "line 2: has the name of a line before"),
        ("basic_auth_users_file", f"a:{HASH}\ncanary", "line 2: holds no NAME:HASH"),
        ("basic_auth_users_file", f":{HASH}", "line 1: a user's name has 1 to 128 characters"),
        ("basic_auth_users_file", "# nobody", "names no user"),
        ("token_file", "canary", "token 1 is invalid; write 16 to 512"),
        ("token_file", f"{TOKEN}\n{TOKEN}\x7f", "token 2 is invalid; write 16 to 512"),
        ("token_file", "", "is empty"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(tmp_path: Path, key: str, content: str, what: str) -> None:
    """With the file and the number of its line, and nothing that stands there (fault 42)."""
    path = tmp_path / "file"
    path.write_text(content)
    (problem,) = problems_in(tmp_path, f"web:\n  auth:\n    {key}: {path}")
    assert (problem.line, problem.where) == (3, f"web.auth.{key}")
    assert str(path) in problem.what
    assert what in problem.what
    assert not any(each in problem.what for each in ("canary", TOKEN, HASH))


def test_an_emptied_section_is_no_open_door(tmp_path: Path) -> None:
    """`tls:` with nothing below it is a mistake, and not plain HTTP."""
    (problem,) = problems_in(tmp_path, "web:\n  tls:\n    # cert_file: a\n")
    assert (problem.line, problem.where) == (2, "web.tls")
