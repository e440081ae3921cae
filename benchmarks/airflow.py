"""Airflow's own waiter for batch jobs, in an environment of its own that is made from the package index.

Airflow is large, pins half of what there is, and is nobody's dependency here, so its environment is neither
locked nor part of ours. It is made the first time and kept. Where it cannot be made, its rows are left out.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.processes import running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Bench
    from benchmarks.watched import Watched

AIRFLOW = "airflow"
DELAY = 120
"""Seconds between two calls of the waiter, as the provider sets it."""
_PROVIDER = "apache-airflow-providers-amazon"
_ROOT = Path(__file__).parents[1]
_FOLDER = _ROOT / f".venv-airflow-{sys.version_info[0]}.{sys.version_info[1]}"
_PYTHON = _FOLDER / "bin" / "python"
_WAITERS = Path(__file__).with_name("airflow_waiters.py")
_INSTALL_SECONDS = 900
_PATIENCE = 120.0


def version(bench: Bench) -> str | None:
    """The version of the provider, installed if it is not there; `None` if it cannot be."""
    told = _told_version()
    if told is None:
        bench.say(f"installing Airflow into {_FOLDER.name}, about 400 MB")
        try:
            _run(sys.executable, "-m", "venv", "--clear", str(_FOLDER))
            _run(str(_PYTHON), "-m", "pip", "install", "--quiet", "--only-binary", ":all:", _PROVIDER)
        except (subprocess.SubprocessError, OSError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip()
            bench.say(f"no rows about Airflow, because it cannot be installed: {said.splitlines()[-1]}")
            return None
        told = _told_version()
    return told


def _told_version() -> str | None:
    code = f"from importlib.metadata import version; print(version({_PROVIDER!r}))"
    try:
        return _run(str(_PYTHON), "-c", code).strip()
    except (subprocess.SubprocessError, OSError):
        return None


def _run(*command: str) -> str:
    done = subprocess.run(  # noqa: S603 - commands of ours
        command, capture_output=True, text=True, check=True, timeout=_INSTALL_SECONDS
    )
    return done.stdout


@contextmanager
def waiters(bench: Bench, place: Watched) -> Iterator[None]:
    """Let a waiter watch each job until the end of the block; begins after the first call of each."""
    arns = bench.folder / "airflow-jobs"
    arns.write_text("\n".join(place.jobs[AIRFLOW]))
    environ = place.environment(AIRFLOW, AIRFLOW_HOME=str(bench.folder / "airflow"))
    # Without -P its folder, which is this one, would hide Airflow's package by this module.
    command = (str(_PYTHON), "-P", str(_WAITERS), str(arns), place.receiver)
    with running(command, environ, bench.folder) as program:
        jobs = len(place.jobs[AIRFLOW])
        program.wait_until("the first calls of Airflow", lambda: place.calls(AIRFLOW) >= jobs, _PATIENCE)
        yield
