"""Every sink passes the conformance suite, and the suite finds what breaks a promise."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import pytest

from poller.errors import DeliveryError, DeliveryReason, PartialDeliveryError
from poller.settings.sinks import SinkSettings
from poller.sinks import conformance, registry
from poller.sinks.conformance import CHECKS, ConformanceError, Subject
from poller.sinks.sink import Sink
from tests.sinks.samples import in_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from poller.model import Event


def harness(sink_type: str) -> Callable[[bool], AbstractAsyncContextManager[Subject]]:
    """The harness of a sink, which stands beside its own tests; without one nothing shows that it conforms.

    It takes whether the receiver takes events, and gives the subject while that receiver is there.
    """
    tests = import_module(f"tests.sinks.test_{sink_type}")
    found: Callable[[bool], AbstractAsyncContextManager[Subject]] = tests.subject
    return found


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("sink_type", registry.BUILT_IN)
@pytest.mark.usefixtures("credentials", "capfdbinary")
@in_loop
async def test_every_sink_conforms(
    sink_type: str, up: bool, check: conformance.Check, aws: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each sink of the registry passes every check, with its receiver up and down, and shows no secret."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws)
    async with harness(sink_type)(up) as subject:
        await check(subject)
        sink = subject.make()
        assert type(sink) is registry.sink_type(sink_type)
        await sink.close()


def test_a_sink_without_a_harness_fails() -> None:
    """A type that has no tests of its own, or none with a `subject`, does not pass unseen."""
    with pytest.raises(ModuleNotFoundError, match="test_pigeon"):
        harness("pigeon")
    with pytest.raises(AttributeError, match="subject"):
        harness("credentials")


SAMPLE = conformance.sample_event().id


class Settings(SinkSettings):
    """Settings of the sinks below."""

    type: Literal["broken"] = "broken"


class Loose(SinkSettings):
    """Settings that do not say which sink they are for."""


class Broken(Sink[Any]):
    """Does what it is told to."""

    settings_type = Settings
    behave: Callable[[Sequence[Event]], object] = staticmethod(len)

    async def send(self, events: Sequence[Event]) -> None:
        """Do it."""
        await asyncio.sleep(0)
        self.behave(events)


def broken(settings: SinkSettings | None = None, **attributes: Any) -> Subject:
    """Make a sink that breaks a promise."""
    made = type("Made", (Broken,), attributes)
    return Subject(lambda: made("b", settings or Settings()), ["s3cret"])


def fail(error: BaseException) -> Any:
    """Raise from `send`."""

    def behave(events: Sequence[Event]) -> None:
        raise error

    return staticmethod(behave)


def report(failures: Any) -> PartialDeliveryError:
    """Make a report whose failures are whatever it is given."""
    made = PartialDeliveryError({})
    made.failures = failures
    return made


def failing(message: str) -> DeliveryError:
    """Make a failure with a message."""
    return DeliveryError(message, reason=DeliveryReason.SINK)


@pytest.mark.parametrize(
    ("behave", "says"),
    [
        (fail(KeyError("k")), "raised KeyError"),
        (fail(failing("token s3cret refused")), "shows a secret"),
        (fail(PartialDeliveryError({"sample-sample000000": failing("s3cret")})), "shows a secret"),
        (fail(PartialDeliveryError({"other": failing("no")})), "events it was not given"),
        (fail(PartialDeliveryError({})), "partial failure of no event"),
        (fail(PartialDeliveryError({SAMPLE: "no"})), "not a DeliveryError of one event"),  # type: ignore[dict-item]
        (fail(PartialDeliveryError({SAMPLE: PartialDeliveryError({})})), "not a DeliveryError of one event"),
        (fail(report(None)), "not a dict"),
        (fail(SystemExit(3)), "raised SystemExit"),
        (fail(KeyboardInterrupt()), "raised KeyboardInterrupt"),
        (fail(asyncio.CancelledError()), "raised CancelledError"),
    ],
)
@in_loop
async def test_a_broken_send_is_found(behave: Any, says: str) -> None:
    """Foreign exceptions, secrets and strangers' ids are reported, the secret itself not (fault 37)."""
    with pytest.raises(ConformanceError, match=says) as caught:
        await conformance.takes_one_event(broken(behave=behave))
    assert "s3cret" not in str(caught.value)


@in_loop
async def test_an_honest_failure_conforms() -> None:
    """A DeliveryError is an answer like another."""
    for check in CHECKS:
        await check(broken(behave=fail(failing("down"))))


@in_loop
async def test_a_send_that_hangs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sink that neither returns nor fails, or that goes on when cancelled, does not conform."""
    monkeypatch.setattr(conformance, "PATIENCE", 0.05)
    stop = asyncio.Event()

    async def hang(self: Any, events: Sequence[Event]) -> None:
        await stop.wait()

    async def stubborn(self: Any, events: Sequence[Event]) -> None:
        while not stop.is_set():
            try:
                await stop.wait()
            except asyncio.CancelledError:
                continue

    with pytest.raises(ConformanceError, match="neither returns nor fails"):
        await conformance.takes_one_event(broken(send=hang))
    with pytest.raises(ConformanceError, match="goes on"):
        await conformance.survives_cancellation(broken(send=stubborn))
    stop.set()


@pytest.mark.parametrize(
    ("subject", "says"),
    [
        (broken(settings_type=SinkSettings), "is not the class"),
        (broken(Loose(type="x")), "is not the class"),
        (broken(Loose(type="x"), settings_type=Loose), "is not one Literal"),
        (broken(batch_size=0), "less than 1"),
    ],
)
@in_loop
async def test_a_wrong_declaration_is_found(subject: Subject, says: str) -> None:
    """Settings of another class, an open type and an empty batch are reported."""
    with pytest.raises(ConformanceError, match=says):
        await conformance.declares_itself(subject)
