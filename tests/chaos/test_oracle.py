"""The judge can say no: each kind of violation, planted alone, is found and counted as what it is."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.chaos.oracle import STATUS_CHANGED, Copy, Evidence, Life, Verdict, Violations

NEW = Life("arn:aws:bedrock:us-east-1:1:async-invoke/new", ("InProgress", "Completed"))
OLD = Life("arn:aws:bedrock:us-east-1:1:async-invoke/old", ("InProgress", "Failed"), silent=1)
PAST = Life("arn:aws:bedrock:us-east-1:1:async-invoke/past", ("InProgress", "Completed"), silent=2)
SINKS = ("hook", "log")


def event(life: Life, status: str, previous: str | None, **changes: str) -> tuple[str, bytes]:
    """An event as the program would make it."""
    one = changes.get("id", f"{life.arn[-4:]}-{status}")
    data = {"job_arn": life.arn, "status": status, "previous_status": previous}
    envelope = {"id": one, "type": changes.get("type", STATUS_CHANGED), "data": data}
    return one, json.dumps(envelope).encode()


EVENTS = (
    event(NEW, "InProgress", None),
    event(NEW, "Completed", "InProgress"),
    event(OLD, "Failed", "InProgress"),
)
GOOD = [Copy(sink, one, body) for sink in SINKS for one, body in EVENTS]


def verdict(
    copies: list[Copy],
    *,
    lives: tuple[Life, ...] = (NEW, OLD, PAST),
    recorded: dict[str, bytes] | None = None,
    fresh: float | None = 1.25,
) -> Verdict:
    """Judge doctored records."""
    return Evidence(lives, copies, recorded, lambda _: SINKS).verdict(kills=2, faults=3, fresh=fresh, seed=7)


def test_a_run_without_fault_is_clean_and_says_so() -> None:
    """What arrived as it happened, copies included, breaks nothing; the line can be read by a script."""
    found = verdict([*GOOD, GOOD[1], GOOD[1]])
    assert found.clean
    assert found.line == (
        "chaos: kills=2 faults=3 events=3 copies=2 lost=0 phantom=0 altered=0 disordered=0 fresh=1.2s seed=7"
    )


def test_a_skipped_status_that_nobody_saw_is_no_loss() -> None:
    """A status that came and went between two polls is in no store, and owed to nobody."""
    ending = event(NEW, "Completed", None)
    stored = dict([ending, EVENTS[2]])
    assert verdict([Copy(sink, *one) for sink in SINKS for one in stored.items()], recorded=stored).clean


def test_one_sink_without_an_ending_is_a_loss() -> None:
    """An ending that reached one of two sinks is lost to the other, whatever the store says."""
    found = verdict([copy for copy in GOOD if (copy.sink, copy.id) != ("log", EVENTS[1][0])])
    assert [len(part) for part in parts(found.violations)] == [1, 0, 0, 0]
    assert not found.clean


def test_a_refused_arrival_is_no_delivery() -> None:
    """A copy that the receiver answered with 500 does not count as delivered."""
    found = verdict([replace(copy, taken=copy.id != EVENTS[2][0]) for copy in GOOD])
    assert [len(part) for part in parts(found.violations)] == [2, 0, 0, 0]


def test_a_recorded_status_that_was_not_sent_is_a_loss() -> None:
    """What a poll saw and recorded is owed, even if a later status of the job did arrive."""
    found = verdict([copy for copy in GOOD if copy.id != EVENTS[0][0]], recorded=dict(EVENTS))
    assert [len(part) for part in parts(found.violations)] == [2, 0, 0, 0]


@pytest.mark.parametrize(
    "planted",
    [
        event(replace(NEW, arn="arn:nobody"), "Completed", None),
        event(NEW, "Failed", "InProgress"),
        event(PAST, "Completed", "InProgress"),
        event(OLD, "InProgress", None),
        event(NEW, "Completed", "Scheduled", id=EVENTS[1][0] + "x"),
        event(NEW, "Completed", "InProgress", type="bedrock-poller.job.disappeared"),
        ("torn", b'{"id": "torn"'),
        ("odd", b"[1, 2]"),
    ],
    ids=["no-such-job", "never-so", "history", "baseline", "wrong-before", "disappeared", "torn", "no-event"],
)
def test_a_phantom_is_noticed(planted: tuple[str, bytes]) -> None:
    """An event about what never happened, or about a past that was to stay silent."""
    found = verdict([*GOOD, Copy("hook", *planted)])
    assert len(found.violations.phantom) == 1
    assert not found.clean


def test_a_phantom_in_the_store_is_noticed_before_it_is_sent() -> None:
    """The store must not hold an event about a past that was to stay silent."""
    found = verdict(GOOD, recorded=dict([*EVENTS, event(PAST, "Completed", None)]))
    assert len(found.violations.phantom) == 1


def test_an_event_that_was_sent_and_not_recorded_is_noticed() -> None:
    """What is sent before it is written down is lost by a kill between the two."""
    found = verdict(GOOD, recorded=dict(EVENTS[1:]))
    assert [len(part) for part in parts(found.violations)] == [0, 2, 0, 0]


def test_a_sink_that_was_not_to_get_it_is_noticed() -> None:
    """An event that the routes do not give to a sink must not arrive there."""
    evidence = Evidence(
        (NEW, OLD, PAST), GOOD, dict(EVENTS), lambda status: ("hook", "log")[: 1 + (status != "Failed")]
    )
    assert [len(part) for part in parts(evidence.judge())] == [0, 1, 0, 0]


def test_other_bytes_under_the_same_id_are_noticed() -> None:
    """A copy with the same id and other bytes, though both tell the same."""
    one, body = EVENTS[1]
    found = verdict([*GOOD, Copy("hook", one, body + b" ")])
    assert [len(part) for part in parts(found.violations)] == [0, 0, 1, 0]


def test_a_second_id_for_the_same_happening_is_noticed() -> None:
    """The same happening under another id cannot be dropped by the receiver."""
    found = verdict([*GOOD, Copy("hook", *event(NEW, "Completed", "InProgress", id="another"))])
    assert [len(part) for part in parts(found.violations)] == [0, 0, 1, 0]


def test_a_header_that_names_another_id_is_noticed() -> None:
    """The id that the receiver drops by is the one in the body."""
    assert len(verdict([*GOOD[1:], replace(GOOD[0], id="another")]).violations.altered) == 1


def test_a_wrong_signature_is_noticed() -> None:
    """A body that was not signed with the secret has been altered on the way."""
    found = verdict([*GOOD, replace(GOOD[1], signed=False)])
    assert [len(part) for part in parts(found.violations)] == [0, 0, 1, 0]


def test_a_first_copy_out_of_order_is_noticed() -> None:
    """The ending before the beginning, at one sink; the other sink's order is its own."""
    found = verdict([GOOD[1], GOOD[0], *GOOD[2:]])
    assert [len(part) for part in parts(found.violations)] == [0, 0, 0, 1]


def test_a_late_copy_is_not_out_of_order() -> None:
    """What comes again after a kill comes late; only first copies have an order."""
    assert verdict([*GOOD, GOOD[0]]).clean


def test_a_run_in_which_nothing_happened_is_not_clean() -> None:
    """Silence proves nothing."""
    assert not verdict([], lives=(PAST,), recorded={}).clean


def test_a_fresh_transition_that_never_arrived_is_not_clean() -> None:
    """Work has to resume when the faults have ended."""
    found = verdict(GOOD, fresh=None)
    assert not found.clean
    assert "fresh=never" in found.line


def test_two_entries_of_one_status_are_refused() -> None:
    """The judge says so if it is asked about a life that it cannot judge."""
    with pytest.raises(ValueError, match="apart"):
        verdict([], lives=(Life("arn", ("InProgress", "InProgress")),))


def parts(found: Violations) -> tuple[tuple[str, ...], ...]:
    """The four kinds, in the order of the verdict."""
    return (found.lost, found.phantom, found.altered, found.disordered)
