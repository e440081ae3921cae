"""What must not be shown is taken out of every text, whole or cut."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller import redaction
from poller.redaction import (
    EXCERPT_LENGTH,
    excerpt,
    redact,
    register_rotating_secret,
    register_secret,
    secret_parts,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "k3y/0f+the=receiver-0123456789"


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """Start without any registered secret, and leave none."""
    before = redaction._registered
    redaction._registered = redaction._Registered()
    yield
    redaction._registered = before


@pytest.mark.parametrize("before", range(EXCERPT_LENGTH - len(SECRET) - 2, EXCERPT_LENGTH + 2))
def test_an_excerpt_that_is_cut_within_a_secret_shows_none_of_it(before: int) -> None:
    """A registered secret is redacted before the text is cut, wherever the cut falls."""
    register_secret(SECRET)
    shown = excerpt("x" * before + SECRET + " and more")
    assert "k3y" not in shown
    assert len(shown) <= EXCERPT_LENGTH


@pytest.mark.parametrize("kept", range(6, len(SECRET)))
def test_a_text_that_ends_within_a_secret_shows_none_of_it(kept: int) -> None:
    """The beginning of a secret is redacted as well, whether the receiver or a limit cut the text."""
    register_secret(SECRET)
    assert excerpt(f"bad token {SECRET[:kept]}") == "bad token [secret]"
    assert excerpt(f"bad token {quote(SECRET, safe='')[:kept]}".encode()) == "bad token [secret]"


def test_a_text_that_ends_like_a_secret_begins_keeps_its_words() -> None:
    """A few characters are no part of a secret."""
    register_secret(SECRET)
    assert excerpt("use another k3y/0") == "use another k3y/0"


@given(st.binary(max_size=2000))
def test_an_excerpt_is_short_and_printable(body: bytes) -> None:
    """Whatever a receiver answers, the excerpt stays on one line of the log."""
    shown = excerpt(body)
    assert len(shown) <= EXCERPT_LENGTH
    assert shown.isprintable()


def test_an_excerpt_escapes_what_a_terminal_would_obey() -> None:
    """Line breaks, escape sequences and direction marks are spelled out."""
    assert excerpt("a\r\nb\x1b[31m\u202ec\x00".encode()) == r"a\r\nb\x1b[31m\u202ec\x00"


@pytest.mark.parametrize(
    "echo",
    [
        "s3cr/et +&\"'",
        "s3cr/et%20%2B%26%22%27",
        "s3cr%2Fet%20%2B%26%22%27",
        "s3cr%2Fet+%2B%26%22%27",
        "s3cr/et +&amp;&quot;&#x27;",
        "s3cr/et +&\\\"'",
        "s3cr\\/et +&\\\"'",
    ],
)
def test_an_echoed_secret_is_redacted_however_it_is_escaped(echo: str) -> None:
    """A receiver that quotes the secret in any usual encoding does not get it into the log."""
    assert redact(f"bad token {echo}!", ["s3cr/et +&\"'", ""]) == "bad token [secret]!"
    register_secret("s3cr/et +&\"'")
    assert redact(f"bad token {echo}!") == "bad token [secret]!"


@pytest.mark.parametrize("given_with_the_text", [True, False])
def test_a_secret_within_a_secret_leaves_nothing_over(given_with_the_text: bool) -> None:
    """Of two secrets that overlap the longer one goes first, wherever they come from."""
    register_secret("secret-a", "secret-a-and-more")
    assert redact("x secret-a-and-more y secret-a z") == "x [secret] y [secret] z"
    further = ["secret-a-and-more-of-it"] if given_with_the_text else []
    assert redact("secret-a-and-more-of-it", further).startswith("[secret]")
    assert ("of-it" in redact("secret-a-and-more-of-it", further)) != given_with_the_text


@pytest.mark.parametrize("written", ["v1,{}", "v1%2C{}", '{{"webhook-signature":"v1,{}"}}'])
def test_a_signature_of_another_attempt_is_redacted_by_its_form(written: str) -> None:
    """Nobody remembers what was signed a minute ago, and a receiver may still show it."""
    signature = "E2WyokQliXpfxCXCdAi1aNWGlYrSK9wsRSJdNV36cf8="
    assert signature[:20] not in redact(written.format(signature))
    assert redact("v1,short and v2") == "v1,short and v2"


@pytest.mark.parametrize("word", ["poller", "Bearer", "POSTGRES", "store"])
def test_a_word_is_redacted_as_a_password_of_an_address_alone(word: str) -> None:
    """A database whose password is its user's name does not make riddles of the log (fault 67)."""
    register_secret(word)
    assert redact(f"store={word}") == f"store={word}"
    for url in ("postgresql://poller:{}@db/x", "https://:{}@h", "host=db password={} user=poller"):
        shown = redact(f"cannot open {url.format(word)}")
        assert shown == f"cannot open {url.format('[secret]')}"
    assert redact("http://h:80/a@b") == "http://h:80/a@b"


@pytest.mark.parametrize("secret", ["0f9f2ac1b2d", "p%40ss w/rd+", "pässword-1", "CorrectHorseBattery"])
def test_a_secret_is_redacted_in_the_usual_encodings(secret: str) -> None:
    """As JSON, in an address, in a form, and in base64 of either alphabet (fault 67)."""
    register_secret(secret)
    raw = secret.encode()
    shapes = [secret, json.dumps(secret), quote(secret, safe=""), quote_plus(secret)]
    shapes += [base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw + b"!").decode()]
    for shape in shapes:
        left = redact(f"the service said {shape} to us")
        assert "[secret]" in left, shape
        assert len(left) < len("the service said [secret] to us") + 8


def test_secrets_that_are_replaced_are_forgotten_in_the_end() -> None:
    """Of each owner the last three are redacted; a year of sessions does not fill the memory (fault 67)."""
    for number in range(100):
        register_rotating_secret("role a", f"session-token-{number:04}")
    register_rotating_secret("role b", "another-token-0001")
    assert redact("session-token-0099 session-token-0097") == "[secret] [secret]"
    assert redact("session-token-0001 another-token-0001") == "session-token-0001 [secret]"


@pytest.mark.parametrize(
    ("secret", "parts"),
    [
        ("whsec_a2V5a2V5\n", {"whsec_a2V5a2V5", "a2V5a2V5"}),
        ("Bearer t0ken", {"Bearer t0ken", "Bearer", "t0ken"}),
        ("postgresql://poller:p%40ss@db/poller", {"p%40ss", "p@ss"}),
        ("https://h.example/bedrock", set()),
        ("https://u:pw@h.example/hooks/T0123456789ABCDEF?k=%20x", {"pw", "T0123456789ABCDEF"}),
        ("https://[::1/x", set()),
        ('Token token="t0ken-1", realm=x', {"t0ken-1"}),
        ("session=abc-123; theme=dark", {"abc-123"}),
        ("id-7,K3Y-77", {"K3Y-77"}),
        ("Basic cHJvbTpoNG50ZXItMg==", {"prom:h4nter-2", "h4nter-2", "cHJvbTpoNG50ZXItMg=="}),
        ("prom:h4nter-2", {"h4nter-2"}),
    ],
)
def test_what_is_secret_by_itself_is_redacted_too(secret: str, parts: set[str]) -> None:
    """The token of a header, the password and the long parts of an address; never mere words."""
    found = set(secret_parts(secret)) - {""}
    assert {secret.strip(), *parts} <= found
    assert not found & {"bedrock", "poller", "hooks", "h.example", "db"}
