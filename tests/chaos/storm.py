"""A random storm against the real daemon: `make chaos CHAOS_ARGS="--for 10m --seed 7"`.

Jobs move, and faults come and go as the seed has it: the daemon is killed, told to stop and told to reload,
and started again with other names for its targets, or two for one account. AWS throttles, breaks off, goes
in circles, answers late, shows absurd times, and throttles, delays and fails Gets; the queue of wake-ups
brings copies, late messages and garbage; receivers refuse, hang, hang up and answer without end; the clock
jumps, the disk fills. Then all faults end, things settle, one more transition has to pass, and the oracle
judges. 0 means that nothing was lost, made up, altered or out of order.
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
from pathlib import Path
from typing import TYPE_CHECKING

from poller.simulator.seeding import Dice
from poller.times import parse_duration
from tests.chaos.disk import private_disks, unmount
from tests.chaos.messages import Messages
from tests.chaos.mint import ENDINGS, Mint
from tests.chaos.stage import LOG, Stage, eventually
from tests.chaos.weather import Moods, Weather
from tests.harness.daemon import Daemon
from tests.harness.receiver import Receiver

if TYPE_CHECKING:
    from tests.chaos.oracle import Verdict

EVERYTHING, ENDINGS_ONLY = "first", "endings"
ROUTES = (
    {"sinks": [EVERYTHING, LOG]},
    {"match": {"outcome": ["succeeded", "failed", "partial", "stopped", "expired"]}, "sinks": [ENDINGS_ONLY]},
)
_TICK_SECONDS = 0.1
_TELL_SECONDS = 10.0
_LOOK_SECONDS = 15.0
_SETTLE_SECONDS = 120.0
_FRESH_SECONDS = 60.0
_STOP_SECONDS = 30.0
_DISK_BYTES = 96 * 1024 * 1024
_BASELINE = 12
_PROFILE = "second"
"""Other credentials of the same account."""


def owed(status: str) -> tuple[str, ...]:
    """Who is to get an event: everything goes to two sinks, endings to a third."""
    return (EVERYTHING, LOG, ENDINGS_ONLY) if status in ENDINGS else (EVERYTHING, LOG)


class Storm:
    """One storm.

    Args:
        folder: Where the store is to be.
        seconds: How long.
        seed: Decides what happens.
    """

    def __init__(self, folder: Path, seconds: float, seed: int) -> None:
        self._seconds = seconds
        self._seed = seed
        self._dice = Dice(seed, "storm")
        self._moods = {name: Moods(seed, name) for name in (EVERYTHING, ENDINGS_ONLY)}
        receivers = [Receiver(name=name, mood=mood) for name, mood in self._moods.items()]
        self._stage = Stage(seed, folder, receivers, owed=owed, routes=ROUTES)
        self._mint = Mint(self._stage.simulator, seed)
        self._messages = Messages(self._stage.simulator, seed)
        self._daemon: Daemon | None = None
        self._starts = 0
        self._looked = 0.0
        self._deaths: Counter[str] = Counter()
        self.problems: list[str] = []

    def run(self) -> Verdict:
        """Run it to its end, and judge."""
        with self._stage as stage, self._messages:
            clock = stage.outputs / "clock"
            clock.write_text("0")
            self._weather = Weather(stage, self._moods, clock, self._seed)
            shared = stage.outputs / "credentials"
            shared.write_text(
                f"[{_PROFILE}]\naws_access_key_id = AKID\naws_secret_access_key = not-a-secret\n"
            )
            self._environ = {
                **stage.environ(AWS__MAX_ATTEMPTS="2", WAKE_UPS=self._messages.settings),
                "AWS_ENDPOINT_URL_SQS": self._messages.endpoint,
                "AWS_SHARED_CREDENTIALS_FILE": str(shared),
                "CHAOS_CLOCK": str(clock),
                "CHAOS_CLOCK_DATABASE": "1",
            }
            try:
                return self._judged()
            finally:
                if self._daemon is not None:
                    self._daemon.kill()

    def _judged(self) -> Verdict:
        stage = self._stage
        self._mint.history(_BASELINE)
        stage.baseline()
        self._start()
        eventually(stage.baselined, "the baseline was never made")
        self._rage(time.monotonic() + self._seconds)
        self._weather.clear()
        fresh = self._settle()
        if self._stop(signal.SIGTERM) != 0:
            self.problems.append("SIGTERM after all was quiet did not end it with 0")
        if (found := stage.sound()) != "ok":
            self.problems.append(f"the store is damaged: {found}")
        return stage.evidence().verdict(
            kills=self._deaths["SIGKILL"] + self._deaths["SIGTERM"],
            faults=self._weather.count,
            fresh=fresh,
            seed=self._seed,
        )

    def _rage(self, until: float) -> None:
        began = told = time.monotonic()
        while (now := time.monotonic()) < until:
            if self._dice.chance(0.5):
                self._mint.step()
            self._messages.step()
            self._weather.change()
            if self._dice.chance(0.02):
                self._daemon_is_told(signal.SIGHUP)
            if self._dice.chance(0.02):
                self._stop(self._dice.pick([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
            self._keep_alive()
            if now - told > _TELL_SECONDS:
                told = now
                arrivals = sum(len(receiver.copies) for receiver in self._stage.receivers.values())
                say(
                    f"{now - began:.0f}s of {self._seconds:.0f}s: transitions={self._mint.minted} "
                    f"arrivals={arrivals} messages={self._messages.count} starts={self._starts} "
                    f"faults={self._weather.count} "
                    f"now={', '.join(self._weather.now) or 'calm'}"
                )
            time.sleep(_TICK_SECONDS)

    def _settle(self) -> float | None:
        """Wait until all is seen and delivered; returns how long a fresh transition then takes."""
        say("the faults have ended; waiting for what is owed")
        try:
            eventually(self._settled, "it did not settle", seconds=_SETTLE_SECONDS)
        except TimeoutError as error:
            self.problems.append(f"{error} within {_SETTLE_SECONDS:.0f} s")
        began = time.monotonic()
        arn = self._mint.fresh()
        try:
            eventually(lambda: self._kept() and self._stage.arrived(arn, "Completed"), seconds=_FRESH_SECONDS)
        except TimeoutError:
            return None
        return time.monotonic() - began

    def _kept(self) -> bool:
        self._keep_alive()
        return True

    def _settled(self) -> bool:
        self._keep_alive()
        return self._stage.seen() and self._stage.pending() == 0

    def _start(self) -> None:
        self._starts += 1
        environ = {**self._environ, "BEDROCK_POLLER_TARGETS": json.dumps(self._named_targets())}
        self._daemon = Daemon(self._stage.outputs, environ, fresh=True).__enter__()
        self._weather.pid = self._daemon.process.pid
        self._weather.press()

    def _named_targets(self) -> list[dict[str, str]]:
        """The one account that there is, under another name at each start, and often under two."""
        targets = [{"name": self._dice.pick(["default", "renamed", "moved"])}]
        if self._dice.chance(0.5):
            targets.append({"name": "second", "profile": _PROFILE})
        return targets if self._dice.chance(0.5) else targets[::-1]

    def _daemon_is_told(self, number: signal.Signals) -> None:
        # One that has not got as far as to listen for it would die of it.
        if self._daemon is not None and self._daemon.log("daemon.starting"):
            self._daemon.process.send_signal(number)

    def _stop(self, number: signal.Signals) -> int:
        """Send a signal, and see that it ends."""
        assert self._daemon is not None
        self._deaths[number.name] += 1
        self._daemon.process.send_signal(number)
        code = self._daemon.process.wait(_STOP_SECONDS)
        self._daemon = None
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            self._looked = time.monotonic()
            self._stage.look()
        return code

    def _keep_alive(self) -> None:
        """Start it again, as its supervisor would."""
        if self._daemon is not None and (code := self._daemon.process.poll()) is not None:
            errors, self._daemon = self._daemon.errors, None
            self._deaths["by itself"] += 1
            # It may refuse to start on a full disk; anything else is its own fault.
            if not (code == 1 and self._weather.disk_lately_full):
                self.problems.append(f"it ended by itself with {code}: {errors[-2000:]}")
        if self._daemon is None:
            self._start()


def say(line: str) -> None:
    """Tell whoever waits."""
    sys.stderr.write(f"chaos: {line}\n")
    sys.stderr.flush()


def main(arguments: list[str] | None = None) -> int:
    """Run a storm; the exit code says whether it left everything as it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.storm", description=__doc__)
    parser.add_argument("--for", dest="span", type=parse_duration, default="3m", help="such as 30m")
    parser.add_argument("--seed", type=int, default=None, help="repeats a storm; by default a new one")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is cleaned up
    seed = int(time.time()) % 1_000_000 if chosen.seed is None else chosen.seed
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="chaos-storm-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        disk = folder / "disk"
        disk.mkdir()
        if private_disks(disk, size=_DISK_BYTES):
            stack.callback(unmount, disk)
        store = disk / "store"
        store.mkdir()
        say(f"seed={seed} for {chosen.span.total_seconds():.0f}s")
        storm = Storm(store, chosen.span.total_seconds(), seed)
        verdict = storm.run()
    for what in (*verdict.violations.all, *storm.problems):
        sys.stdout.write(f"  {what}\n")
    sys.stdout.write(verdict.line + "\n")
    return 0 if verdict.clean and not storm.problems else 1


if __name__ == "__main__":
    sys.exit(main())
