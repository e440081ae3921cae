"""Several replicas over one PostgreSQL in a storm: `make chaos-replicas CHAOS_ARGS="--for 10m --seed 7"`.

Jobs move in hundreds of targets, and the replicas share them. As the seed has it, replicas are killed, told
to stop, put to sleep past their leases and woken, and cut off from the database while AWS and the sinks are
still there; the database is restarted, AWS throttles and breaks off, receivers refuse. One replica at least
is always left in peace, or nobody could take anything over. Then all faults end, things settle, and three
judges speak: the oracle by what arrived, the witness by what the database saw, and the clock by how long it
took until what a stopped replica had held was polled by another one.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from poller.simulator import faults
from poller.simulator.seeding import Dice
from poller.times import format_duration, parse_duration
from tests.chaos.cluster import Cluster
from tests.chaos.mint import Mint
from tests.chaos.replica import Replica, Stop
from tests.chaos.stage import eventually
from tests.chaos.storm import ENDINGS_ONLY, EVERYTHING, ROUTES, owed, say
from tests.chaos.weather import Moods, Weather
from tests.chaos.witness import ROBBED, STALE, late_sends, percentile, takeovers
from tests.harness.receiver import Receiver

if TYPE_CHECKING:
    from datetime import timedelta

    from tests.chaos.link import Link
    from tests.chaos.oracle import Verdict

_WEATHER = {"aws": 0.5, "receiver": 0.5}
_STRIKES = {"kill": 0.65, "nap": 0.16, "term": 0.07, "halt": 0.05, "cut": 0.035, "silence": 0.035}
_STOPS = ("kill", "term", "halt")
_TICK_SECONDS = 0.05
_STRIKE_CHANCE = 0.09
_TELL_SECONDS = 10.0
_LOOK_SECONDS = 15.0
_RESTART_SECONDS = 20.0
_SETTLE_SECONDS = 180.0
_FRESH_SECONDS = 60.0
_EXCUSED_SECONDS = 10.0
_LATENCY_SECONDS = 0.5
"""How long AWS takes for a listing, so that replicas are struck in the middle of their work."""
_TOLERANCE_SECONDS = 5.0
"""How much longer than a lease a takeover may take: a look each second, a machine that is busy."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run is to be like.

    Args:
        seconds: How long.
        seed: Decides what happens.
        replicas: How many.
        targets: How many.
        lease: `store.lease`.
        interval: `poll.interval`.
    """

    seconds: float
    seed: int
    replicas: int
    targets: int
    lease: timedelta
    interval: timedelta


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended; nothing is wrong if `clean`."""

    settings: Settings
    verdict: Verdict
    stops: Counter[str]
    waits: list[float]
    stale: list[str]
    robbed: list[str]
    late: list[str]
    refused: int
    problems: list[str]

    @property
    def clean(self) -> bool:
        """Whether nothing was wrong."""
        return self.verdict.clean and not self.wrong

    @property
    def wrong(self) -> list[str]:
        """What was wrong, a sentence each."""
        found = [*self.verdict.violations.all, *self.problems]
        found += [f"{kind}: {what}" for kind in ("stale", "robbed", "late") for what in getattr(self, kind)]
        longest = self.settings.lease.total_seconds() + _TOLERANCE_SECONDS
        if percentile(self.waits, 0.99) > longest:
            found.append(
                f"takeovers take up to {percentile(self.waits, 0.99):.1f} s, and not {longest:.0f} s"
            )
        return found

    @property
    def line(self) -> str:
        """For people and scripts."""
        verdict, found = self.verdict, self.verdict.violations
        stops = " ".join(f"{what}={self.stops[what]}" for what in sorted(self.stops))
        fresh = "never" if verdict.fresh is None else f"{verdict.fresh:.1f}s"
        return (
            f"chaos-replicas: replicas={self.settings.replicas} targets={self.settings.targets} "
            f"stops={verdict.kills} ({stops}) faults={verdict.faults} events={verdict.events} "
            f"copies={verdict.copies} lost={len(found.lost)} phantom={len(found.phantom)} "
            f"altered={len(found.altered)} disordered={len(found.disordered)} stale={len(self.stale)} "
            f"robbed={len(self.robbed)} late={len(self.late)} refused={self.refused} "
            f"takeovers={len(self.waits)} p50={percentile(self.waits, 0.5):.1f}s "
            f"p99={percentile(self.waits, 0.99):.1f}s max={percentile(self.waits, 1):.1f}s "
            f"lease={format_duration(self.settings.lease)} fresh={fresh} seed={self.settings.seed}"
        )


class Siege:
    """One run.

    Args:
        folder: For files.
        settings: What it is to be like.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._settings = settings
        self._dice = Dice(settings.seed, "siege")
        moods = {name: Moods(settings.seed, name) for name in (EVERYTHING, ENDINGS_ONLY)}
        receivers = [Receiver(name=name, mood=mood) for name, mood in moods.items()]
        self._stage = Cluster(
            settings.seed, folder, receivers, targets=settings.targets, owed=owed, routes=ROUTES
        )
        self._mint = Mint(
            self._stage.simulator, settings.seed, places=self._stage.places, most_open=settings.targets
        )
        self._weather = Weather(self._stage, moods, folder, settings.seed, _WEATHER)
        self._replicas: list[Replica] = []
        self._restarts: Counter[str] = Counter()
        self._restarted = self._looked = self._told = time.monotonic()
        self._problems: list[str] = []

    def run(self) -> Outcome:
        """Run it to its end, and judge."""
        with self._stage as stage, ExitStack() as stack:
            for number in range(1, self._settings.replicas + 1):
                replica = Replica(f"r{number}", stage.server, stage.outputs, self._variables)
                self._replicas.append(stack.enter_context(replica))
            stage.simulator.faults.add(faults.Latency(seconds=_LATENCY_SECONDS))
            self._mint.history(stage.targets)
            stage.baseline()
            # All at once, on an empty database.
            eventually(lambda: self._tend() and stage.baselined(), "the baseline was never made", seconds=120)
            stage.witness.install()
            self._rage()
            self._weather.clear()
            fresh = self._settle()
            self._end()
            return self._judge(fresh)

    def _variables(self, who: str, link: Link) -> dict[str, str]:
        interval = format_duration(self._settings.interval)
        return self._stage.variables(
            who,
            link,
            POLL__INTERVAL=interval,
            POLL__IDLE_INTERVAL=interval,
            POLL__CONCURRENCY="16",
            STORE__LEASE=format_duration(self._settings.lease),
            AWS__MAX_ATTEMPTS="2",
        )

    def _rage(self) -> None:
        began = time.monotonic()
        minted = 0.0
        while (now := time.monotonic()) < began + self._settings.seconds:
            if now - minted > 0.1:
                minted = now
                if self._dice.chance(0.5):
                    self._mint.step()
                self._weather.change()
            self._strike()
            self._tend()
            self._tell(now - began)
            time.sleep(_TICK_SECONDS)

    def _strike(self) -> None:
        now = time.monotonic()
        if now - self._restarted > _RESTART_SECONDS:
            mode = self._dice.pick(["fast", "immediate"])
            self._restarts[mode] += 1
            self._stage.restart(mode, self._dice.between(0.0, 1.0))
            self._restarted = time.monotonic()
        if not self._dice.chance(_STRIKE_CHANCE):
            return
        victim = self._dice.pick(self._replicas)
        left = any(replica.well for replica in self._replicas if replica is not victim)
        if not (left and victim.at_work):
            return
        lease = self._settings.lease.total_seconds()
        seconds = lease + self._dice.between(1.0, 3.0)
        match self._dice.choose(_STRIKES) if victim.well else "kill":
            case "kill":
                victim.kill(self._dice.between(0.0, 0.5))
            case "term":
                victim.terminate(self._dice.between(0.0, 0.5))
            case "nap":
                victim.halt(self._dice.between(0.2, 2.0))
            case "halt":
                victim.halt(seconds)
            case "cut":
                victim.cut_off(self._dice.between(1.0, seconds), silently=False, late=False)
            case "silence":
                victim.cut_off(self._dice.between(1.0, seconds), silently=True, late=self._dice.chance(0.5))

    def _tend(self) -> bool:
        excused = time.monotonic() - self._restarted < _EXCUSED_SECONDS and bool(self._restarts)
        for replica in self._replicas:
            replica.tend(excused=excused)
        return True

    def _tell(self, passed: float) -> None:
        now = time.monotonic()
        if now - self._looked > _LOOK_SECONDS:
            self._looked = now
            self._stage.look()
        if now - self._told > _TELL_SECONDS:
            self._told = now
            arrivals = sum(len(receiver.copies) for receiver in self._stage.receivers.values())
            say(
                f"{passed:.0f}s of {self._settings.seconds:.0f}s: transitions={self._mint.minted} "
                f"arrivals={arrivals} stops={len(self._stops(*_STOPS))} faults={self._weather.count} "
                f"now={', '.join(self._weather.now) or 'calm'}"
            )

    def _stops(self, *kinds: str) -> list[Stop]:
        return [
            stop for replica in self._replicas for stop in replica.stops if not kinds or stop.what in kinds
        ]

    def _settle(self) -> float | None:
        """Wait until all is seen and delivered; returns how long a fresh transition then takes."""
        say("the faults have ended; waiting for what is owed")
        for replica in self._replicas:
            replica.relieve()
        try:
            eventually(self._settled, "it did not settle", seconds=_SETTLE_SECONDS)
        except TimeoutError as error:
            self._problems.append(f"{error} within {_SETTLE_SECONDS:.0f} s")
        began = time.monotonic()
        arn = self._mint.fresh()
        try:
            eventually(lambda: self._tend() and self._stage.arrived(arn, "Completed"), seconds=_FRESH_SECONDS)
        except TimeoutError:
            return None
        return time.monotonic() - began

    def _settled(self) -> bool:
        time.sleep(0.3)
        return self._tend() and self._stage.pending() == 0 and self._stage.seen()

    def _end(self) -> None:
        for replica in self._replicas:
            self._problems += replica.problems
            if (code := replica.end()) != 0:
                self._problems.append(f"{replica.who} ended with {code} after all was quiet")
        if (found := self._stage.sound()) != "ok":
            self._problems.append(f"the store does not agree with itself: {found}")

    def _judge(self, fresh: float | None) -> Outcome:
        stage = self._stage
        deeds = stage.witness.deeds()
        counted = Counter(stop.what for stop in self._stops()) + self._restarts
        refused = self._read_logs()
        evidence = stage.evidence()
        return Outcome(
            settings=self._settings,
            verdict=evidence.verdict(
                kills=len(self._stops(*_STOPS)) + self._restarts.total(),
                faults=self._weather.count + len(self._stops("cut", "silence")),
                fresh=fresh,
                seed=self._settings.seed,
            ),
            stops=counted,
            waits=takeovers(deeds, self._stops()),
            stale=[f"{deed.who}: {deed.what}" for deed in deeds if deed.did == STALE],
            robbed=[f"{deed.who}: {deed.what}" for deed in deeds if deed.did == ROBBED],
            late=late_sends(deeds, evidence.copies, self._stops("halt")),
            refused=refused,
            problems=self._problems,
        )

    def _read_logs(self) -> int:
        """How often a replica was refused because it had lost a lease; faults of the program are problems."""
        refused = 0
        for path in sorted(self._stage.outputs.glob("err-*")):
            for line in path.read_text().splitlines():
                try:
                    said = json.loads(line)
                except ValueError:
                    continue
                if said["event"] in {"poll.lease_lost", "delivery.lease_lost"}:
                    refused += int(said.get("deliveries", 1))
                if "exception" in said:
                    self._problems.append(f"{path.name}: {line[:2000]}")
        return refused


def main(arguments: list[str] | None = None) -> int:
    """Run it; the exit code says whether everything was as it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.replicas", description=__doc__)
    parser.add_argument("--for", dest="span", type=parse_duration, default="3m", help="such as 10m")
    parser.add_argument("--seed", type=int, default=None, help="repeats a run; by default a new one")
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--targets", type=int, default=200)
    parser.add_argument("--lease", type=parse_duration, default="15s", help="store.lease; its default")
    parser.add_argument("--interval", type=parse_duration, default="30s", help="poll.interval")
    chosen = parser.parse_args(arguments)
    if chosen.replicas < 2 or chosen.targets < 2:
        parser.error("it takes two replicas and two targets")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is cleaned up
    seed = int(time.time()) % 1_000_000 if chosen.seed is None else chosen.seed
    settings = Settings(
        seconds=chosen.span.total_seconds(),
        seed=seed,
        replicas=chosen.replicas,
        targets=chosen.targets,
        lease=chosen.lease,
        interval=chosen.interval,
    )
    folder = Path(tempfile.mkdtemp(prefix="chaos-replicas-"))
    try:
        say(f"seed={seed} for {settings.seconds:.0f}s")
        outcome = Siege(folder, settings).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for what in outcome.wrong:
        sys.stdout.write(f"  {what}\n")
    sys.stdout.write(outcome.line + "\n")
    return 0 if outcome.clean else 1


if __name__ == "__main__":
    sys.exit(main())
