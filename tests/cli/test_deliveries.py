"""`deliveries replay`, `list` and `show`: which deliveries, and what is said about them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import typer

from poller.store.replay import Replay
from tests.cli.test_sinks import hook
from tests.harness.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Callable

    from poller.simulator import Simulator
    from tests.cli.conftest import Shell

OPEN = [("InProgress", 0.0)]


@pytest.fixture
def owed(at_work: Shell, simulator: Simulator) -> Callable[..., list[str]]:
    """Record events of some jobs, one a job, and make their deliveries what a test wants; gives the ids."""

    def owed(count: int = 1, state: str = "dead") -> list[str]:
        at_work.set(POLL__FIRST_SCAN="emit")
        for _ in range(count):
            simulator.submit_batch(script=OPEN)
        assert at_work("once", "--no-drain").code == 0
        at_work.sql(f"UPDATE deliveries SET state = '{state}', settled_at = created_at, attempts = 5")  # noqa: S608
        return [str(row[0]) for row in at_work.sql("SELECT event_id FROM deliveries ORDER BY id")]

    return owed


def states(shell: Shell) -> list[str]:
    """The state of every delivery."""
    return [row[0] for row in shell.sql("SELECT state FROM deliveries ORDER BY id")]


def test_dead_letters_are_sent_again_with_the_same_id_and_body(at_work: Shell, simulator: Simulator) -> None:
    """A receiver that refused until they died gets, after the replay, just what it had refused."""
    at_work.set(POLL__FIRST_SCAN="emit")
    simulator.submit_batch(script=OPEN)
    with Receiver(lambda _: 400) as receiver:
        at_work.sinks(ops=hook(receiver, retry={"initial": "1ms", "max": "2ms", "give_up_after": "0s"}))
        at_work("once")
        assert states(at_work) == ["dead"]
        receiver.answer = lambda _: 204
        refused = list(receiver.bodies)
        assert at_work("once").code == 0
        assert receiver.bodies == refused
        done = at_work("deliveries", "replay", "--dead")
        assert (done.code, done.out, done.err) == (0, "", "ops: replayed 1 deliveries (1 dead)\n")
        at_work("once")
        assert states(at_work) == ["done"]
        assert len(receiver.bodies) == len(refused) + 1
        assert receiver.bodies[-1] == refused[0]
        assert len(receiver.distinct()) == 1


def test_without_a_selection_nothing_is_replayed(at_work: Shell, owed: Callable[..., list[str]]) -> None:
    """Everything at once is hardly ever meant; the answer says how to say which."""
    owed()
    done = at_work("deliveries", "replay")
    assert (done.code, done.out) == (2, "")
    assert "say which: ids, or any of --sink, --state, --dead" in done.err
    assert states(at_work) == ["dead"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--dead", "--state", "done"), "--dead is short for --state dead, and --state says done"),
        (("--since", "1h", "--until", "2h"), "--since is not before --until"),
        (("--since", "yesterday"), "'yesterday' is not a time"),
        (("--until", "2026-11-20T10:00:00"), "names no time zone"),
        (("--sink", "nowhere"), "there is no such sink; there are: log"),
        (("--state", "lost"), "lost"),
        (("abc",), "Invalid value for 'ID'"),
        (("0",), "Invalid value for 'ID'"),
        (tuple(map(str, range(1, 1002))), "1001 ids are too many"),
    ],
)
def test_wrong_use(
    at_work: Shell, owed: Callable[..., list[str]], arguments: tuple[str, ...], says: str
) -> None:
    """Is exit code 2 with what is wrong, and changes nothing."""
    owed()
    done = at_work("deliveries", "replay", *arguments)
    assert (done.code, done.out) == (2, "")
    assert says in done.err.replace("\n", " ")
    assert states(at_work) == ["dead"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("1", "7", "9"), "there is no 7, 9 among the deliveries; nothing was replayed"),
        (("--event", "abc"), "there is no delivery of the event abc; nothing was replayed"),
        (("--job", "arn:x"), "there is no delivery of the job arn:x; nothing was replayed"),
    ],
)
def test_what_is_named_has_to_exist(
    at_work: Shell, owed: Callable[..., list[str]], arguments: tuple[str, ...], says: str
) -> None:
    """Otherwise it is named, and nothing is replayed at all."""
    owed()
    done = at_work("deliveries", "replay", *arguments)
    assert (done.code, done.err) == (1, f"bedrock-poller: {says}\n")
    assert states(at_work) == ["dead"]


def test_a_selection_that_matches_nothing_is_no_failure(
    at_work: Shell, owed: Callable[..., list[str]]
) -> None:
    """A job that replays dead letters by the hour is glad if there are none."""
    owed(state="done")
    done = at_work("deliveries", "replay", "--dead")
    assert (done.code, done.err) == (0, "replayed nothing\n")


def test_a_dry_run_says_what_would_be_and_changes_nothing(
    at_work: Shell, owed: Callable[..., list[str]]
) -> None:
    """A line for each delivery on standard output, the sums beside it; however many, it asks nothing."""
    ids = owed(120)
    done = at_work("deliveries", "replay", "--sink", "log", "--dry-run")
    assert done.code == 0
    assert [line.split("\t")[:4] for line in done.out.splitlines()] == [
        [str(number), "log", "dead", event] for number, event in enumerate(ids, start=1)
    ]
    assert done.err == "log: would replay 120 deliveries (120 dead)\n"
    assert set(states(at_work)) == {"dead"}


def test_more_than_a_hundred_need_a_yes(at_work: Shell, owed: Callable[..., list[str]]) -> None:
    """Where nobody can be asked; a hundred do not."""
    owed(101)
    done = at_work("deliveries", "replay", "--dead")
    assert (done.code, done.out) == (2, "")
    assert "these are 101 deliveries, more than 100; nothing was replayed; add --yes" in done.err
    assert set(states(at_work)) == {"dead"}
    assert at_work("deliveries", "replay", *map(str, range(1, 101))).code == 0
    assert states(at_work).count("pending") == 100
    done = at_work("deliveries", "replay", "--state", "pending", "--yes", "--since", "1h")
    assert (done.code, done.err) == (0, "log: replayed 100 deliveries (100 pending)\n")
    assert at_work("deliveries", "replay", "--dead", "101").code == 0


@pytest.mark.parametrize("agrees", [True, False])
def test_on_a_terminal_it_asks(
    at_work: Shell, owed: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch, agrees: bool
) -> None:
    """And does nothing without consent."""
    owed(101)
    asked = []

    def confirm(text: str) -> bool:
        asked.append(text)
        return agrees

    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr(typer, "confirm", confirm)
    done = at_work("deliveries", "replay", "--dead")
    assert (done.code, asked) == (0 if agrees else 1, ["Send 101 deliveries again?"])
    assert set(states(at_work)) == ({"pending"} if agrees else {"dead"})


def test_sinks_that_send_nothing_are_mentioned(at_work: Shell, owed: Callable[..., list[str]]) -> None:
    """A parked one with the way to resume it, and one that is not configured any more."""
    owed(2)
    at_work.sql("UPDATE deliveries SET sink = 'old' WHERE id = 2")
    at_work.sql("INSERT INTO sinks (name, parked_at, parked_reason) VALUES ('log', 1, '410 ' || char(27))")
    lines = at_work("deliveries", "replay", "--dead").err.splitlines()
    assert lines == [
        "log: replayed 1 deliveries (1 dead)",
        "old: replayed 1 deliveries (1 dead)",
        "log: is parked (410 \\x1b); its deliveries wait until `bedrock-poller sinks unpark log`",
        "old: is not configured; its deliveries wait until it is",
    ]
    assert at_work("deliveries", "replay", "--sink", "old").code == 0


def test_a_failure_half_way_says_what_was_replayed(
    at_work: Shell, owed: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was put back by then stays; the same command again does the rest."""
    owed(30)
    defaults = Replay.__init__.__kwdefaults__
    assert defaults
    monkeypatch.setitem(defaults, "chunk", 10)
    at_work.sql(
        "CREATE TRIGGER full BEFORE UPDATE ON deliveries WHEN NEW.id = 15 "
        "BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    )
    done = at_work("deliveries", "replay", "--dead")
    assert done.code == 1
    assert done.err.splitlines()[0] == "log: replayed 10 deliveries (10 dead)"
    assert "disk full" in done.err
    at_work.sql("DROP TRIGGER full")
    assert at_work("deliveries", "replay", "--dead").err == "log: replayed 20 deliveries (20 dead)\n"
    assert set(states(at_work)) == {"pending"}


def listed(shell: Shell, *arguments: str) -> list[int]:
    """The ids that a list shows."""
    rows: list[dict[str, Any]] = json.loads(shell("deliveries", "list", "--output", "json", *arguments).out)
    return [row["id"] for row in rows]


def test_the_list_takes_the_same_selection(at_work: Shell, owed: Callable[..., list[str]]) -> None:
    """So that one can look before one replays."""
    ids = owed(3)
    at_work.sql("UPDATE deliveries SET settled_at = 1000000000, state = 'done' WHERE id = 2")
    assert listed(at_work, "--event", ids[0]) == [1]
    assert listed(at_work, "--state", "done") == [2]
    assert listed(at_work, "--since", "1h") == [3, 1]
    assert listed(at_work, "--until", "2001-09-09T01:46:41Z", "--since", "2001-09-09T03:46:40+02:00") == [2]
    assert listed(at_work, "--sink", "log", "--job", "arn:x") == []


def test_one_delivery_is_shown_with_its_event(at_work: Shell, owed: Callable[..., list[str]]) -> None:
    """Its attempts, its last error, and the envelope."""
    (event,) = owed()
    at_work.sql("UPDATE deliveries SET last_reason = 'client_error', last_error = 'said 400'")
    found = json.loads(at_work("deliveries", "show", "1").out)
    assert (found["attempts"], found["reason"], found["error"]) == (5, "client_error", "said 400")
    assert found["event"]["id"] == found["event_id"] == event
    for key in ("2", "one", "²"):
        done = at_work("deliveries", "show", key)
        assert (done.code, done.err) == (1, f"bedrock-poller: there is no {key} among the deliveries\n")


def test_a_removed_sink_s_deliveries_can_be_dropped(at_work: Shell, owed: Callable[..., list[str]]) -> None:
    """It selects as replay does, prints what it would do, asks, and can be undone (fault 60)."""
    owed(101, "pending")
    rehearsed = at_work("deliveries", "drop", "--state", "pending", "--dry-run")
    assert (rehearsed.code, len(rehearsed.out.splitlines())) == (0, 101)
    refused = at_work("deliveries", "drop", "--state", "pending")
    assert refused.code != 0
    assert "add --yes to drop them" in refused.err
    assert set(states(at_work)) == {"pending"}
    dropped = at_work("deliveries", "drop", "--state", "pending", "--yes")
    assert dropped.code == 0
    assert "dropped 101 deliveries (101 pending)" in dropped.err
    assert set(states(at_work)) == {"dropped"}
    listed = at_work("deliveries", "list", "--state", "dropped", "--limit", "500", "--output", "json")
    assert listed.out.count('"dropped"') == 101
    assert at_work("deliveries", "replay", "--state", "dropped", "--yes").code == 0
    assert set(states(at_work)) == {"pending"}
