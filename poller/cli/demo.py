"""`demo` and `simulate`."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import TYPE_CHECKING

import typer

from poller.demo import Demo
from poller.simulator import Simulator, SimulatorServer, Workload

if TYPE_CHECKING:
    from datetime import timedelta

    from poller.cli.context import Context


def run_demo(context: Context, *, duration: timedelta, jobs: int, speed: float, seed: int) -> int:
    """Run the demo; the exit code says whether nothing was lost."""
    context.logging("warning")
    demo = Demo(seconds=duration.total_seconds(), jobs=jobs, speed=speed, seed=seed)
    verdict = asyncio.run(demo.run())
    typer.echo(verdict.line)
    return 0 if verdict.lossless else 1


def run_simulator(
    context: Context, *, host: str, port: int, jobs: int, history: int, rate: float, speed: float, seed: int
) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    context.logging()
    simulator = Simulator(
        seed=seed, speed=speed, workload=Workload(per_minute=rate, jobs=jobs, history=history)
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with SimulatorServer(simulator, host, port) as server:
        typer.echo(f"A simulated Bedrock listens on {server.url}. In another terminal:\n")
        for name in ("BEDROCK", "BEDROCK_RUNTIME", "STS"):
            typer.echo(f"  export AWS_ENDPOINT_URL_{name}={server.url}")
        typer.echo("  export AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any")
        typer.echo("  export AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1")
        typer.echo("  bedrock-poller run\n\nCtrl-C ends it.")
        stop.wait()
