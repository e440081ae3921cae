"""Who gets in, who does not, and what it costs."""

from __future__ import annotations

import asyncio
import base64
import http.client
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import bcrypt
import pytest
import structlog
from starlette.routing import Mount, Route

from poller.errors import RefusalReason
from poller.settings.passwords import check_hash, cost
from poller.settings.web import AuthSettings
from poller.store import Outbox
from poller.store.queries import Browser
from poller.web import api, auth, page, poll, reload
from tests.web.test_server import Answer, Site, request, site

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["site"]

PASSWORD = "CANARY-päss:word"
TOKEN = "CANARY-token-long-enough"
# Always the same, because the names of tests hold it.
HASH = "$2b$04$F.jH5YBHACSXCQ/Hq4A4t.lx.TwJg2.D14qo77YW5Fi9mkuYTGSk."
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW")


def basic(user: str = "prom", password: str = PASSWORD) -> str:
    """The header of basic authentication."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def guarded(site: Site, tmp_path: Path) -> Site:
    """A site with every route there is, a user, and a token in a file."""

    async def forbidden() -> str:
        raise AssertionError("nobody may reload")

    browser, outbox = Browser(site.database), Outbox(site.database)
    site.further = [
        page.route(browser, outbox, lambda: ()),
        *api.routes(browser),
        reload.route(forbidden),
        poll.route(lambda _: forbidden(), lambda: True),
    ]
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    site.metrics.prepare([], [])
    site.auth = AuthSettings.model_validate({"basic_auth_users": {"prom": HASH}, "token_file": token})
    return site


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every password that bcrypt was asked about."""
    asked: list[bytes] = []
    real = bcrypt.checkpw

    def check(password: bytes, hashed: bytes) -> bool:
        asked.append(password)
        return real(password, hashed)

    monkeypatch.setattr("bcrypt.checkpw", check)
    return asked


def refused(site: Site) -> dict[str, float]:
    """How many were refused, by the reason."""
    samples = [sample for family in site.metrics.registry.collect() for sample in family.samples]
    name = "bedrock_poller_web_auth_failures_total"
    return {sample.labels["reason"]: sample.value for sample in samples if sample.name == name}


def raw(site: Site, asked: list[tuple[str, str]]) -> list[int]:
    """The statuses of requests whose paths and methods nobody mends on the way."""

    async def main() -> list[int]:
        def ask() -> list[int]:
            statuses = []
            for method, path in asked:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
                connection.request(method, path, body=b"{}" if method == "POST" else None)
                statuses.append(connection.getresponse().status)
                connection.close()
            return statuses

        async with site.serving() as server:
            port = server.port
            return await asyncio.to_thread(ask)

    return asyncio.run(main())


async def together(asked: list[tuple[str, dict[str, str]]]) -> list[Answer]:
    """Requests at the same time, in threads that the server has no use for."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(len(asked)) as threads:
        return await asyncio.gather(
            *(loop.run_in_executor(threads, request, url, "GET", headers) for url, headers in asked)
        )


def test_strangers_get_nothing_but_health(guarded: Site) -> None:
    """Every route but health, whatever the method, what is not there, and health by odd names (fault 47)."""

    async def main() -> list[str]:
        async with guarded.serving() as server:
            # The guard's own application knows which routes there are.
            app: Any = server._server.config.app
            assert not [each for each in app._app.routes if isinstance(each, Mount)]
            return [each.path for each in app._app.routes if isinstance(each, Route)]

    paths = asyncio.run(main())
    assert set(paths) > {"/", "/metrics", "/api/jobs", "/api/events", "/api/deliveries", "/-/reload"}
    odd = [
        "/nothing",
        "/-/",
        "/-/healthy/",
        "//-/healthy",
        "/-/ready/../../metrics",
        "/-/healthy%2f..%2f",
        "*",
    ]
    closed = [path for path in paths if path not in auth.OPEN] + odd
    asked = [(method, path) for method in METHODS for path in closed]
    assert set(raw(guarded, asked)) == {401}
    assert refused(guarded)["missing"] == len(asked)
    assert raw(guarded, [("GET", "/-/healthy"), ("GET", "/-/ready"), ("HEAD", "/-/ready")]) == [200] * 3
    assert raw(guarded, [("POST", "/-/healthy")]) == [405]


def test_a_refusal_says_how_to_get_in(guarded: Site) -> None:
    """401 names both ways, is kept by no cache, and tells nothing else."""
    (answer,) = guarded.ask("/metrics")
    assert (answer.status, answer.text) == (401, "missing\n")
    assert answer.headers["cache-control"] == "no-store"

    async def main() -> list[str]:
        async with guarded.serving() as server:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
            await asyncio.to_thread(connection.request, "GET", "/")
            found = (await asyncio.to_thread(connection.getresponse)).headers.get_all("www-authenticate", [])
            connection.close()
            return found

    assert asyncio.run(main()) == [
        'Basic realm="bedrock-poller", charset="UTF-8"',
        'Bearer realm="bedrock-poller"',
    ]


@pytest.mark.parametrize(
    "given", [basic(), f"Bearer {TOKEN}", f"bearer   {TOKEN}", basic().replace("B", "b", 1)]
)
def test_users_and_tokens_get_in(guarded: Site, given: str) -> None:
    """With a password or a token, to every page."""
    answers = guarded.ask("/metrics", "/", "/api/jobs", "/nothing", Authorization=given)
    assert [answer.status for answer in answers] == [200, 200, 200, 404]
    assert sum(refused(guarded).values()) == 0


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("", "malformed"),
        ("Basic", "malformed"),
        ("Basic !!!", "malformed"),
        ("Basic " + base64.b64encode(b"no colon").decode(), "malformed"),
        ("Basic " + base64.b64encode(b"\xff:" + PASSWORD.encode()).decode(), "malformed"),
        ("Digest username=prom", "malformed"),
        (f"Token {TOKEN}", "malformed"),
        ("Bearer " + "x" * 5000, "malformed"),
        (basic(password="wrong"), "wrong"),
        (basic(password=""), "wrong"),
        (basic(password=PASSWORD + "\0"), "wrong"),
        (basic(password=PASSWORD + "x" * 72), "wrong"),
        (basic(user="nobody"), "wrong"),
        (basic(user=""), "wrong"),
        (basic(user="PROM"), "wrong"),
        (basic(password=HASH), "wrong"),
        ("Bearer", "wrong"),
        ("Bearer wrong", "wrong"),
        (f"Bearer {TOKEN}x", "wrong"),
        (f"Bearer {TOKEN[:-1]}", "wrong"),
        (f"Bearer {PASSWORD}", "wrong"),
        ("Bearer \xe9\xff", "wrong"),
    ],
)
def test_nobody_else_does(guarded: Site, given: str, why: str) -> None:
    """What is wrong or cannot be read is counted by its reason (fault 47)."""
    (answer,) = guarded.ask("/metrics", Authorization=given)
    assert (answer.status, answer.text) == (401, f"{why}\n")
    assert refused(guarded) == {reason: float(reason == why) for reason in RefusalReason} | {
        why: 1.0
    } or refused(guarded) == {why: 1.0}


def test_two_headers_are_none(guarded: Site) -> None:
    """A proxy in front might have looked at the other one."""

    async def main() -> int:
        async with guarded.serving() as server:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
            connection.putrequest("GET", "/metrics")
            connection.putheader("authorization", basic())
            connection.putheader("authorization", f"Bearer {TOKEN}")
            connection.endheaders()
            status = (await asyncio.to_thread(connection.getresponse)).status
            connection.close()
            return status

    assert asyncio.run(main()) == 401


def test_a_way_that_is_not_configured_is_none(guarded: Site, tmp_path: Path) -> None:
    """With users alone no token gets in, and with tokens alone no user."""
    guarded.auth = AuthSettings.model_validate({"basic_auth_users": {"prom": HASH}})
    assert guarded.ask("/metrics", Authorization=f"Bearer {TOKEN}")[0].text == "malformed\n"
    guarded.auth = AuthSettings.model_validate({"token_file": tmp_path / "token"})
    (answer,) = guarded.ask("/metrics", Authorization=basic())
    assert answer.text == "malformed\n"
    assert answer.headers["www-authenticate"] == 'Bearer realm="bedrock-poller"'


def test_a_password_is_checked_once_in_a_while(guarded: Site, checked: list[bytes]) -> None:
    """Scrapes with a password cost bcrypt's time once, as long as five minutes do not pass without one."""
    for _ in range(2):
        assert {answer.status for answer in guarded.ask(*["/metrics"] * 5, Authorization=basic())} == {200}
    assert len(checked) == 2  # each site has a memory of its own
    guarded.ask(*["/metrics"] * 5, Authorization=basic(password="wrong"))
    assert len(checked) == 3

    async def main() -> None:
        async with guarded.serving() as server:
            for seconds, times in ((0, 4), (299, 4), (299, 4), (301, 5), (299, 5)):
                guarded.now += seconds
                await asyncio.to_thread(request, server.url + "/metrics", "GET", {"Authorization": basic()})
                assert len(checked) == times

    asyncio.run(main())


def test_wrong_passwords_do_not_make_right_ones_forgotten(guarded: Site, checked: list[bytes]) -> None:
    """However many are tried; and what is remembered of them is bounded."""

    async def main() -> None:
        async with guarded.serving() as server:
            app: Any = server._server.config.app

            def ask() -> None:
                connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
                for password in [PASSWORD, *map(str, range(200)), PASSWORD]:
                    connection.request(
                        "GET", "/-/nothing", headers={"Authorization": basic(password=password)}
                    )
                    connection.getresponse().read()
                connection.close()

            await asyncio.to_thread(ask)
            assert len(app._passwords._wrong) == 128
            assert len(app._passwords._right) == 1

    asyncio.run(main())
    assert checked.count(PASSWORD.encode()) == 1
    assert len(checked) == 201


def test_a_changed_file_counts_at_once(guarded: Site, tmp_path: Path) -> None:
    """A removed user, a changed password and a rotated token, without a reload and whatever is remembered."""
    users, token = tmp_path / "users", tmp_path / "token"
    users.write_text(f"prom:{HASH}\n")
    guarded.auth = AuthSettings.model_validate({"basic_auth_users_file": users, "token_file": token})
    other = bcrypt.hashpw(b"other", bcrypt.gensalt(4)).decode()

    async def main() -> list[int]:
        statuses = []
        async with guarded.serving() as server:

            async def ask(given: str) -> None:
                headers = {"Authorization": given}
                answer = await asyncio.to_thread(request, server.url + "/metrics", "GET", headers)
                statuses.append(answer.status)

            await ask(basic())
            users.write_text(f"prom:{other}\n")
            await ask(basic())
            await ask(basic(password="other"))
            users.write_text(f"else:{other}\n")
            await ask(basic(password="other"))
            await ask(f"Bearer {TOKEN}")
            token.write_text(f"{TOKEN}-new\n{TOKEN}")
            await ask(f"Bearer {TOKEN}")
            token.write_text(f"{TOKEN}-new")
            await ask(f"Bearer {TOKEN}")
            await ask(f"Bearer {TOKEN}-new")
        return statuses

    assert asyncio.run(main()) == [200, 401, 200, 401, 200, 200, 401, 200]


def test_a_file_that_is_gone_lets_nobody_in(guarded: Site, tmp_path: Path) -> None:
    """503 for those who come with a token, and the log says which file; others are not hurt."""
    (tmp_path / "token").unlink()
    with structlog.testing.capture_logs() as lines:
        (answer,) = guarded.ask("/metrics", Authorization=f"Bearer {TOKEN}")
    assert (answer.status, answer.text, answer.headers["retry-after"]) == (503, "unreadable\n", "1")
    assert [line["event"] for line in lines] == ["web.credentials_unreadable", "web.refused"]
    assert "token: No such file" in lines[0]["error"]
    assert guarded.ask("/metrics", Authorization=basic())[0].status == 200


def test_strangers_cannot_take_the_processor(guarded: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """One password is checked after the other, and when too many wait the next is sent away.

    Injects fault 47.
    """
    at_once = most = 0

    def slow(_password: bytes, _hashed: bytes) -> bool:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        time.sleep(0.1)
        at_once -= 1
        return False

    monkeypatch.setattr("bcrypt.checkpw", slow)

    async def main() -> list[Answer]:
        async with guarded.serving() as server:
            asked = [(f"{server.url}/metrics", {"Authorization": basic(password=str(n))}) for n in range(12)]
            return await together([*asked, (f"{server.url}/-/healthy", {})])

    *answers, healthy = asyncio.run(main())
    statuses = [answer.status for answer in answers]
    assert most == 1
    assert statuses.count(401) >= 8
    assert statuses.count(429) == 12 - statuses.count(401) > 0
    assert healthy.status == 200
    assert refused(guarded)["busy"] == statuses.count(429)


def test_wrong_passwords_from_one_address_keep_no_other_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first login of another address waits for its turn in a flood, and succeeds (fault 64)."""
    monkeypatch.setattr("bcrypt.checkpw", lambda password, _: password == b"right")

    async def main() -> tuple[RefusalReason | None, list[RefusalReason | None]]:
        with ThreadPoolExecutor(1) as threads:
            passwords = auth._Passwords(threads, time.monotonic)
            tried = (passwords.check("a", b"%d" % number, "hash", "192.0.2.1") for number in range(50))
            flood = asyncio.gather(*tried)
            await asyncio.sleep(0)
            return await passwords.check("b", b"right", "hash", "192.0.2.2"), await flood

    first, flood = asyncio.run(main())
    assert first is None
    assert (flood.count(RefusalReason.WRONG), flood.count(RefusalReason.BUSY)) == (8, 42)


def test_the_same_password_is_checked_once_for_many(guarded: Site, checked: list[bytes]) -> None:
    """Those who come at the same time with the same wait for one answer."""

    async def main() -> set[int]:
        async with guarded.serving() as server:
            asked = [(f"{server.url}/metrics", {"Authorization": basic()})] * 6
            return {answer.status for answer in await together(asked)}

    assert asyncio.run(main()) == {200}
    assert len(checked) == 1


def test_time_does_not_tell_which_names_exist(guarded: Site, checked: list[bytes]) -> None:
    """The password of a name that does not exist is held against a hash of the same cost."""
    guarded.ask("/metrics", Authorization=basic(user="nobody"))
    assert checked == [PASSWORD.encode()]
    assert cost(check_hash(auth._NOBODY.format(cost(HASH)))) == "04"


def test_refusals_are_logged_without_what_was_given(guarded: Site) -> None:
    """Who, what and why; not the user, the password or the token; and no line for each of very many."""
    with structlog.testing.capture_logs() as lines:
        for given in (basic(user="CANARY", password="CANARY"), "Bearer CANARY", "CANARY"):
            guarded.ask("/metrics?token=CANARY", Authorization=given)
    assert len(lines) == 3  # each site has just begun
    assert "CANARY" not in str(lines)
    assert dict(lines[0]) == {
        "event": "web.refused",
        "client": "127.0.0.1",
        "log_level": "warning",
        "why": "wrong",
        "method": "GET",
        "path": "/metrics",
        "unsaid": 0,
    }

    async def main() -> None:
        async with guarded.serving() as server:
            for later in (0, 0, 9, 2):
                guarded.now += later
                await asyncio.to_thread(request, server.url + "/metrics")

    with structlog.testing.capture_logs() as lines:
        asyncio.run(main())
    assert [line["unsaid"] for line in lines] == [0, 2]
    assert refused(guarded)["missing"] == 4
