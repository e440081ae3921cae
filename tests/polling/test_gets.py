"""Gets side by side: as many at once as may be, the most urgent first, and none waits for a bad one."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poller.aws import Answer
from poller.aws.limits import Patience
from poller.errors import AwsError, AwsReason, StoppedError
from poller.polling import gets as gets_module
from poller.polling.gets import Get, Gets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

THROTTLED = AwsError("too many", reason=AwsReason.THROTTLED)
FAILED = AwsError("500", reason=AwsReason.SERVICE)


class Bedrock:
    """What the Gets call; an ARN says how it is answered."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.at_once = 0
        self.most_at_once = 0
        self.hung = threading.Event()
        self.answering = threading.Event()
        self.answering.set()
        self._lock = threading.Lock()

    def get(self, arn: str, patience: Patience) -> Answer:
        """Answer; `hang` at the end, `fail` with an error, `throttle` always so, `throttle-N` N times."""
        patience.begin()
        with self._lock:
            self.asked.append(arn)
            self.at_once += 1
            self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            return self._answer(arn, patience)
        finally:
            with self._lock:
                self.at_once -= 1

    def _answer(self, arn: str, patience: Patience) -> Answer:
        self.answering.wait(10)
        manner, _, rest = arn.partition("-")
        if manner == "hang":
            self.hung.wait(10)
        elif manner == "slow":
            time.sleep(0.05)
        elif manner == "fail":
            raise FAILED
        elif manner == "throttle" and self.asked.count(arn) <= int(rest.partition("-")[0] or 99):
            patience.throttled = True
            raise THROTTLED
        return Answer({"arn": arn}, None)


@pytest.fixture
def bedrock() -> Iterator[Bedrock]:
    """A service whose hanging calls end with the test."""
    found = Bedrock()
    yield found
    found.hung.set()


@pytest.fixture
def stop() -> threading.Event:
    """The stop of the process."""
    return threading.Event()


@pytest.fixture
def make(bedrock: Bedrock, stop: threading.Event) -> Iterator[Callable[..., Gets]]:
    """Gets of that service."""
    made: list[Gets] = []

    def gets(most: int = 8, unanswered: set[Get] | None = None) -> Gets:
        left = set() if unanswered is None else unanswered
        made.append(Gets(bedrock.get, most=most, stop=stop, unanswered=left))
        return made[-1]

    yield gets
    for each in made:
        each.close()


def until(gets: Gets, asked: list[Get]) -> list[Get]:
    """Collect until all that were asked are done; returns them in the order of their end."""
    done: list[Get] = []
    while not all(get.done for get in asked):
        done += gets.collect()
    return done


def outcomes(asked: list[Get]) -> dict[str, str]:
    """What became of each: `answer`, or the reason of its error."""
    return {get.arn: str(get.error.reason) if isinstance(get.error, AwsError) else "answer" for get in asked}


def test_the_most_urgent_goes_first(bedrock: Bedrock, make: Callable[..., Gets]) -> None:
    """Whenever it was asked for; with equal urgency the one that was asked for first."""
    gets = make(most=1)
    bedrock.answering.clear()
    asked = [gets.ask("first", (5,), Patience())]
    while not bedrock.asked:
        time.sleep(0.001)
    asked += [gets.ask(arn, (order,), Patience()) for arn, order in (("d", 3), ("b", 1), ("a", 0), ("c", 1))]
    bedrock.answering.set()
    assert [get.arn for get in until(gets, asked)] == bedrock.asked == ["first", "a", "b", "c", "d"]


def test_as_many_go_at_once_as_may(bedrock: Bedrock, make: Callable[..., Gets]) -> None:
    """Not one more, and not one fewer while there are enough."""
    gets = make(most=3)
    bedrock.answering.clear()
    asked = [gets.ask(f"slow-{number}", (number,), Patience()) for number in range(9)]
    while bedrock.at_once < 3:
        time.sleep(0.001)
    bedrock.answering.set()
    until(gets, asked)
    assert bedrock.most_at_once == 3


def test_one_that_hangs_is_given_up_and_holds_up_no_other(
    bedrock: Bedrock, make: Callable[..., Gets]
) -> None:
    """Its place is taken by the next, and what it brings afterwards is dropped."""
    unanswered: set[Get] = set()
    gets = make(most=1, unanswered=unanswered)
    hanging = gets.ask("hang", (0,), Patience(0.3))
    assert [get.arn for get in until(gets, [hanging])] == ["hang"]
    assert outcomes([hanging]) == {"hang": "network"}
    assert unanswered == {hanging}
    other = gets.ask("other", (1,), Patience(10))
    until(gets, [other])
    assert outcomes([other]) == {"other": "answer"}
    bedrock.hung.set()
    while unanswered:
        time.sleep(0.001)
    assert gets.collect() == []
    assert hanging.answer is None


def test_where_none_is_answered_those_behind_wait_no_longer(
    bedrock: Bedrock, make: Callable[..., Gets]
) -> None:
    """They have waited as long for a thread as those that hang have for an answer, and are not asked."""
    gets = make(most=2)
    asked = [gets.ask(f"hang-{number}", (number,), Patience(0.3)) for number in range(9)]
    until(gets, asked)
    assert set(outcomes(asked).values()) == {"network"}
    assert set(bedrock.asked) == {"hang-0", "hang-1"}


def test_where_one_is_answered_those_behind_have_their_turn(
    bedrock: Bedrock, make: Callable[..., Gets]
) -> None:
    """One that hangs for longer than they have waited does not take them along."""
    gets = make(most=2)
    hanging = gets.ask("hang", (0,), Patience(1))
    others = [gets.ask(f"slow-{number}", (1, number), Patience(1)) for number in range(30)]
    until(gets, [hanging, *others])
    assert outcomes([hanging]) == {"hang": "network"}
    assert set(outcomes(others).values()) == {"answer"}
    assert bedrock.most_at_once <= 3


def test_one_to_spare_is_made_only_while_another_one_hangs(
    bedrock: Bedrock, make: Callable[..., Gets], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not owed before that; there are no more at once for it, and its own slowness lets in no other."""
    monkeypatch.setattr(gets_module, "_SLOW_SECONDS", 0.1)
    gets = make(most=2)
    spare = [gets.ask(arn, (number,), Patience(10), spare=True) for number, arn in enumerate("abc")]
    until(gets, [gets.ask("quick", (5,), Patience(10))])
    assert (bedrock.asked, gets.owed) == (["quick"], 0)
    hanging = gets.ask("hang", (5,), Patience(0.5))
    assert [get.arn for get in until(gets, [hanging, *spare])] == ["a", "b", "c", "hang"]
    assert bedrock.most_at_once == 2
    assert gets.owed == 0


def test_a_throttled_one_is_made_again_within_its_patience(
    bedrock: Bedrock, make: Callable[..., Gets]
) -> None:
    """Throttled twice, it succeeds; throttled always, it is given up; without an end to wait for, at once."""
    gets = make()
    asked = [
        gets.ask("throttle-2", (0,), Patience(10)),
        gets.ask("throttle", (1,), Patience(0.3)),
        gets.ask("throttle-1-once", (2,), Patience()),
    ]
    until(gets, asked)
    assert outcomes(asked) == {
        "throttle-2": "answer",
        "throttle": "throttled",
        "throttle-1-once": "throttled",
    }
    assert bedrock.asked.count("throttle-2") == 3
    assert bedrock.asked.count("throttle") > 1
    assert bedrock.asked.count("throttle-1-once") == 1


def test_a_target_leaves_a_bounded_number_of_calls_behind(make: Callable[..., Gets]) -> None:
    """Once many of its calls hang, from earlier polls as well, no more Gets wait for a thread."""
    unanswered = {Get(f"old-{number}", Patience()) for number in range(4)}
    gets = make(most=1, unanswered=unanswered)
    first = gets.ask("hang", (0,), Patience(60))
    behind = gets.ask("behind", (1,), Patience())
    until(gets, [behind])
    assert outcomes([behind]) == {"behind": "network"}
    assert not first.done


def test_a_stop_ends_the_wait(make: Callable[..., Gets], stop: threading.Event) -> None:
    """Though a call hangs for a minute."""
    gets = make()
    gets.ask("hang", (0,), Patience(60))
    assert gets.collect() == []
    stop.set()
    with pytest.raises(StoppedError):
        gets.collect()


def test_after_the_end_nothing_is_asked(bedrock: Bedrock, make: Callable[..., Gets]) -> None:
    """What waits is forgotten, and what is under way counts as left behind until it ends."""
    unanswered: set[Get] = set()
    gets = make(most=1, unanswered=unanswered)
    first = gets.ask("hang", (0,), Patience(60))
    gets.ask("behind", (1,), Patience(60))
    while not bedrock.asked:
        time.sleep(0.001)
    gets.close()
    assert unanswered == {first}
    bedrock.hung.set()
    while unanswered:
        time.sleep(0.001)
    assert bedrock.asked == ["hang"]


def test_a_nudge_ends_the_wait_for_something_else(make: Callable[..., Gets]) -> None:
    """It is no Get, and may come among them; what is not done has no result."""
    gets = make()
    gets.nudge()
    assert gets.collect() == []
    get = gets.ask("hang", (0,), Patience())
    with pytest.raises(RuntimeError):
        get.result()


MANNERS = ("fine", "slow", "fail", "hang", "throttle", "throttle-1", "throttle-3")


@settings(deadline=None, max_examples=15)
@given(st.lists(st.tuples(st.sampled_from(MANNERS), st.integers(0, 3)), max_size=25), st.integers(1, 8))
def test_each_is_done_once_whatever_the_service_does(asked: list[tuple[str, int]], most: int) -> None:
    """With any latencies, failures and throttles, and as many at once as may, besides those given up."""
    bedrock = Bedrock()
    unanswered: set[Get] = set()
    gets = Gets(bedrock.get, most=most, stop=threading.Event(), unanswered=unanswered)
    held_up = bool({"hang", "throttle", "throttle-1", "throttle-3"} & {manner for manner, _ in asked})
    seconds = 0.25 if held_up else 10.0
    try:
        made = [
            gets.ask(f"{manner}-{'' if '-' in manner else '-'}{number}", (order,), Patience(seconds))
            for number, (manner, order) in enumerate(asked)
        ]
        done = until(gets, made)
    finally:
        bedrock.hung.set()
        gets.close()
    assert Counter(done) == Counter(made)
    for arn, outcome in outcomes(made).items():
        allowed = {"fine": {"answer"}, "slow": {"answer"}, "fail": {"service"}, "hang": {"network"}}
        assert outcome in {"network", "throttled"} | allowed.get(arn.partition("-")[0], {"answer"})
    if not held_up:
        assert "network" not in outcomes(made).values()
        assert bedrock.most_at_once <= most
