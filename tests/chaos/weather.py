"""What a storm consists of: faults that begin at a moment drawn from the seed, last a while, and end."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from poller.simulator import faults
from poller.simulator.seeding import Dice
from tests.chaos.disk import fill, limit, make_room
from tests.harness.receiver import Act, Mood

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.chaos.stage import Stage

_KINDS: Mapping[str, float] = {"aws": 0.4, "receiver": 0.4, "clock": 0.1, "disk": 0.1}
_HOUR = 3600.0
_LATELY_SECONDS = 5.0
_LISTS = ("ListAsyncInvokes", "ListModelInvocationJobs")
_GETS = ("GetAsyncInvoke", "GetModelInvocationJob")
_ABSURD_TIMES = (
    "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00Z",
    "1969-07-20T20:17:40Z",
    "soon",
    -1,
    1e300,
    None,
)


def _absurd_times(job: dict[str, Any]) -> dict[str, Any]:
    """A job with times that make no sense, others at each look."""
    for number, key in enumerate(("submitTime", "lastModifiedTime", "endTime", "jobExpirationTime")):
        if key in job:
            drawn = hash((job["status"], job.get("lastModifiedTime"), time.monotonic_ns(), number))
            job[key] = _ABSURD_TIMES[drawn % len(_ABSURD_TIMES)]
    return job


_AWS: Mapping[str, Callable[[], tuple[faults.Fault, ...]]] = {
    "throttled": lambda: (faults.Throttle(probability=0.7),),
    "5xx": lambda: (faults.Fail(probability=0.5),),
    "reset": lambda: (faults.Reset(probability=0.5),),
    "cut body": lambda: (faults.CutBody(keep=60, probability=0.5),),
    "garbage": lambda: (faults.Garbage(probability=0.5),),
    "slow answers": lambda: (faults.Latency(seconds=0.7),),
    "tokens a-b-a": lambda: (faults.ShortPages(size=2), faults.CyclicTokens(length=2)),
    "one token": lambda: (faults.ShortPages(size=2), faults.CyclicTokens(length=1)),
    "tokens for ever": lambda: (faults.EndlessTokens(),),
    "expired token": lambda: (faults.ShortPages(size=2), faults.ExpiredToken()),
    "empty lists": lambda: (faults.EmptyListing(probability=0.5),),
    "jobs twice": lambda: (faults.Twice(),),
    "absurd times": lambda: (faults.Change(_absurd_times),),
    "poisoned Gets": lambda: tuple(faults.Fail(operation=each) for each in _GETS),
    "throttled Gets": lambda: tuple(faults.Throttle(operation=each) for each in _GETS),
    "slow Gets": lambda: tuple(faults.Latency(operation=each, seconds=1.5) for each in _GETS),
    "slow lists": lambda: tuple(faults.Latency(operation=each, seconds=1.5) for each in _LISTS),
}
_MOODS: Mapping[str, Mood] = {
    "500": Mood(Act.FAIL),
    "429": Mood(Act.LATER, 1.0),
    "hangs": Mood(Act.HANG, 1.5),
    "resets": Mood(Act.RESET),
    "slow": Mood(Act.TAKE, 0.2),
    "100 Continue for ever": Mood(Act.INTERIM, 1.5),
    "blank lines for ever": Mood(Act.BLANK, 1.5),
    "chunk sizes of zeros": Mood(Act.ZEROS, 1.5),
}


class Moods:
    """The mood of one receiver: usually good.

    Args:
        seed: Decides which requests a bad mood meets.
        name: The receiver's.
    """

    def __init__(self, seed: int, name: str) -> None:
        self._dice = Dice(seed, "mood", name)
        self._lock = threading.Lock()
        self.bad: Mood | None = None

    def __call__(self, _one: str) -> Mood:
        """Draw the mood for one request."""
        bad = self.bad
        with self._lock:
            return bad if bad is not None and self._dice.chance(0.8) else Mood()


class Weather:
    """Begins faults and ends them.

    Args:
        stage: What they befall.
        moods: Of each receiver.
        clock: The file that says how wrong the clock is.
        seed: Decides everything but the exact moment.
        kinds: What there is, each with its share.
    """

    def __init__(
        self,
        stage: Stage,
        moods: Mapping[str, Moods],
        clock: Path,
        seed: int,
        kinds: Mapping[str, float] = _KINDS,
    ) -> None:
        self._stage = stage
        self._moods = moods
        self._clock = clock
        self._kinds = kinds
        self._dice = Dice(seed, "weather")
        self._ends: dict[str, tuple[float, Callable[[], None]]] = {}
        self.pid = 0
        """The daemon's."""
        self.count = 0
        self.disk_full = False
        self._room_since = float("-inf")

    @property
    def disk_lately_full(self) -> bool:
        """Whether a process that has just ended may have met a full disk."""
        return self.disk_full or time.monotonic() - self._room_since < _LATELY_SECONDS

    @property
    def now(self) -> list[str]:
        """The faults there are."""
        return sorted(self._ends)

    def change(self) -> None:
        """End what has lasted long enough, and perhaps begin something."""
        now = time.monotonic()
        for name, (until, end) in tuple(self._ends.items()):
            if until < now:
                del self._ends[name]
                end()
        if not self._dice.chance(0.12):
            return
        kind = self._dice.choose(self._kinds)
        getattr(self, f"_begin_{kind}")()

    def clear(self) -> None:
        """End everything."""
        for _, end in self._ends.values():
            end()
        self._ends.clear()

    def _begin(
        self, name: str, low: float, high: float, begin: Callable[[], None], end: Callable[[], None]
    ) -> None:
        lasts = self._dice.between(low, high)
        if name not in self._ends:
            self.count += 1
            begin()
            self._ends[name] = (time.monotonic() + lasts, end)

    def _begin_aws(self) -> None:
        name = self._dice.pick(sorted(_AWS))
        chosen = _AWS[name]()
        armed = self._stage.simulator.faults
        self._begin(name, 0.5, 3.0, lambda: armed.add(*chosen), lambda: armed.remove(*chosen))

    def _begin_receiver(self) -> None:
        receiver = self._stage.receivers[self._dice.pick(sorted(self._stage.receivers))]
        what = self._dice.pick(["refuses", *sorted(_MOODS)])
        if what == "refuses":
            self._begin(f"{receiver.name} refuses", 0.5, 3.0, receiver.shut, receiver.open)
            return
        moods = self._moods[receiver.name]

        def turn_bad() -> None:
            moods.bad = _MOODS[what]

        def turn_good() -> None:
            moods.bad = None

        self._begin(f"{receiver.name}: {what}", 0.5, 4.0, turn_bad, turn_good)

    def _begin_clock(self) -> None:
        hour = self._dice.pick([-_HOUR, _HOUR])
        self._begin(
            "clock an hour off",
            1.0,
            5.0,
            lambda: self._set_clock(hour),
            lambda: self._set_clock(0.0),
        )

    def _begin_disk(self) -> None:
        def begin() -> None:
            self.disk_full = True
            self.press()

        def end() -> None:
            self.disk_full = False
            self._room_since = time.monotonic()
            make_room(self._stage.folder, self.pid)

        self._begin("disk full", 0.5, 3.0, begin, end)

    def press(self) -> None:
        """Fill the disk, for a new process as well, if it is to be full now."""
        if self.disk_full and not fill(self._stage.folder):
            limit(self._stage.folder, self.pid)

    def _set_clock(self, seconds: float) -> None:
        self._clock.write_text(str(seconds))
