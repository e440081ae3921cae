"""How jobs live: the graphs, the durations, the counts, and that it is all decided by the seed."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from poller.kinds import ASYNC_INVOKE, MODEL_INVOCATION_JOB
from poller.simulator import Simulator
from poller.simulator.lifecycles import Life, plan_life
from poller.simulator.seeding import Dice
from tests.simulator.conftest import Clock
from tests.simulator.raw import call

BATCH_GRAPH = {
    "Submitted": {"Validating"},
    "Validating": {"Scheduled", "Failed"},
    "Scheduled": {"InProgress", "Expired"},
    "InProgress": {"Completed", "PartiallyCompleted", "Failed", "Stopping"},
    "Stopping": {"Stopped"},
}


def batch_life(seed: int, arn: str, speed: float = 1.0) -> Life:
    """The life of a batch job that times out after a day."""
    return plan_life(MODEL_INVOCATION_JOB, seed=seed, arn=arn, model="any", timeout_hours=24, speed=speed)


def async_life(seed: int, arn: str, model: str) -> Life:
    """The life of an asynchronous invocation at real speed."""
    return plan_life(ASYNC_INVOKE, seed=seed, arn=arn, model=model, timeout_hours=24, speed=1.0)


def batch(simulator: Simulator, arn: str) -> dict[str, Any]:
    """What the Get shows of a batch job."""
    status, _, body = call(simulator, "GET", f"/model-invocation-job/{arn[-12:]}")
    assert status == 200
    job: dict[str, Any] = body
    return job


def test_batch_jobs_live_by_the_graph_of_the_service() -> None:
    """Every life begins Submitted, follows the known transitions, ends terminal, and all ends occur."""
    ends: Counter[str] = Counter()
    for number in range(600):
        life = batch_life(3, f"arn-{number}")
        statuses = [entry.status for entry in life.entries]
        assert statuses[0] == "Submitted"
        assert all(later in BATCH_GRAPH[earlier] for earlier, later in itertools.pairwise(statuses))
        times = [entry.at for entry in life.entries]
        assert times[0] == 0
        assert times == sorted(set(times))
        assert times[-1] >= 36_000
        if statuses[-1] in {"Expired", "PartiallyCompleted"}:
            assert times[-1] == 24 * 3_600_000
        assert (life.message is not None) == (statuses[-1] not in {"Completed", "Stopped"})
        ends[statuses[-1]] += 1
    assert ends.keys() == MODEL_INVOCATION_JOB.outcomes.keys()
    assert ends.most_common(1)[0][0] == "Completed"


def test_async_invocations_take_as_long_as_their_model() -> None:
    """Embeddings end within a minute, videos within 17, some fail with a message."""
    ends: Counter[str] = Counter()
    for number in range(200):
        embedding = async_life(3, f"arn-{number}", "twelvelabs.marengo-embed-2-7-v1:0")
        video = async_life(3, f"arn-{number}", "amazon.nova-reel-v1:1")
        unknown = async_life(3, f"arn-{number}", "some.model")
        assert embedding.entries[-1].at <= 60_000
        assert video.entries[-1].at <= 1_020_000
        assert unknown.entries[-1].at <= 300_000
        assert (video.message is None) == (video.entries[-1].status == "Completed")
        ends[video.entries[-1].status] += 1
    assert ends.keys() == {"Completed", "Failed"}


def test_speed_divides_durations_and_changes_nothing_else() -> None:
    """The same job at another speed goes through the same statuses, that many times sooner."""
    slow = batch_life(1, "arn")
    fast = batch_life(1, "arn", speed=100.0)
    assert [entry.status for entry in fast.entries] == [entry.status for entry in slow.entries]
    assert all(abs(a.at / 100 - b.at) <= 1 for a, b in zip(slow.entries, fast.entries, strict=True))


def test_the_seed_and_the_clock_decide_everything() -> None:
    """Two simulators with one seed and one clock answer the same bytes; another seed answers others."""

    def story(seed: int) -> list[Any]:
        clock = Clock()
        simulator = Simulator(seed=seed, speed=50, clock=clock)
        simulator.populate(jobs=10, history=5)
        answers = []
        for _ in range(5):
            clock.tick(7)
            answers.append(call(simulator, "GET", "/async-invoke"))
            answers.append(call(simulator, "GET", "/model-invocation-jobs"))
        return answers

    assert story(1) == story(1)
    assert story(1) != story(2)


def test_record_counts_grow_while_in_progress_and_then_stand_still(
    simulator: Simulator, clock: Clock
) -> None:
    """Counts are absent or zero before the job runs, never shrink, add up, and are whole when Completed."""
    script = [("Submitted", 0), ("Validating", 1), ("Scheduled", 2), ("InProgress", 3), ("Completed", 13)]
    made = [simulator.submit_batch(script=script) for _ in range(30)]
    before: dict[str, int] = {}
    zero_or_absent = set()
    for second in range(16):
        for arn in made:
            job = batch(simulator, arn)
            total = job.get("totalRecordCount")
            if second < 3:
                zero_or_absent.add(total)
                assert second < 2 or total == 0
                continue
            processed = job["processedRecordCount"]
            assert processed == job["successRecordCount"] + job["errorRecordCount"]
            assert before.get(arn, 0) <= processed <= total
            if 4 < second < 13:
                assert 0 < processed < total
            if second >= 13:
                assert (job["status"], processed) == ("Completed", total)
            before[arn] = processed
        clock.tick(1)
    assert zero_or_absent == {None, 0}
    assert any(batch(simulator, arn)["errorRecordCount"] for arn in made)


def test_some_jobs_never_show_counts(simulator: Simulator, clock: Clock) -> None:
    """The counts are optional, and for some jobs absent for good; others ended with every record failed."""
    simulator.populate(history=400)
    page = call(simulator, "GET", "/model-invocation-jobs", "maxResults=1000&statusEquals=Completed")[2]
    jobs = page["invocationJobSummaries"]
    assert 0 < sum("totalRecordCount" not in job for job in jobs) < len(jobs)
    assert any(job.get("totalRecordCount", 0) == job.get("errorRecordCount") for job in jobs)


def test_a_job_that_is_cut_off_keeps_the_counts_it_had(simulator: Simulator, clock: Clock) -> None:
    """Stopping, stopped, failed and partial jobs have processed a part of their records."""
    arn = simulator.submit_batch(script=[("InProgress", 0), ("PartiallyCompleted", 10)])
    clock.tick(4)
    running = batch(simulator, arn)["processedRecordCount"]
    simulator.force(arn, "Stopping")
    clock.tick(60)
    assert batch(simulator, arn)["processedRecordCount"] == running
    assert 0 < running < batch(simulator, arn)["totalRecordCount"]
    partial = simulator.submit_batch(script=[("InProgress", 0), ("PartiallyCompleted", 10)])
    clock.tick(10)
    job = batch(simulator, partial)
    assert job["processedRecordCount"] == job["totalRecordCount"] // 2


def test_the_modification_time_can_move_after_the_end() -> None:
    """Some jobs are modified once more seconds after they ended, while the end time stands."""
    clock = Clock()
    simulator = Simulator(seed=1, clock=clock)
    simulator.populate(history=40)
    items = call(simulator, "GET", "/async-invoke")[2]["asyncInvokeSummaries"]
    gaps = [
        datetime.fromisoformat(item["lastModifiedTime"]) - datetime.fromisoformat(item["endTime"])
        for item in items
    ]
    assert {gap.total_seconds() > 0 for gap in gaps} == {True, False}
    assert all(0 <= gap.total_seconds() <= 41 for gap in gaps)

    made = [simulator.submit_async() for _ in range(20)]
    clock.tick(3600)
    modified = {arn: simulator.job(arn).entered_at for arn in made}
    assert all(moment < datetime(2026, 11, 20, 11, 0, 1, tzinfo=UTC) for moment in modified.values())


@pytest.mark.parametrize(
    "script", [[], [("InProgress", 1)], [("InProgress", 0), ("Completed", 5), ("Failed", 2)]]
)
def test_a_script_that_makes_no_sense_is_refused(
    simulator: Simulator, script: list[tuple[str, float]]
) -> None:
    """A script must begin at 0 and go forward in time."""
    with pytest.raises(ValueError, match="seconds after submission"):
        simulator.submit_async(script=script)


def test_dice_are_fair_enough_and_repeatable() -> None:
    """Draws repeat for the same seed, stay within bounds, and chances come out as given."""
    one, two = Dice("a", 1), Dice("a", 1)
    assert [one.unit() for _ in range(50)] == [two.unit() for _ in range(50)]
    assert all(10 <= Dice(n).stretch(10, 1000) < 1000.001 for n in range(100))
    counts = Counter(Dice(n).choose({"a": 0.5, "b": 0.3, "c": 0.2}) for n in range(2000))
    assert [round(counts[key] / 2000, 1) for key in "abc"] == [0.5, 0.3, 0.2]
    assert len({Dice(n).identifier() for n in range(1000)}) == 1000
