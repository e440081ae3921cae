"""A real Prometheus on loopback, for as long as a check takes, and the questions that checks ask it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any, Self

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_START_SECONDS = 20.0
_STOP_SECONDS = 15.0


class Prometheus:
    """One server; a context manager that leaves no process behind.

    Args:
        program: The program.
        folder: Where its data and its configuration go.
        rules: The rule file that it loads.
    """

    def __init__(self, program: Path, folder: Path, rules: Path) -> None:
        self._program = program
        self._folder = folder
        self._rules = rules
        self._scraped = folder / "targets.json"
        self._process: subprocess.Popen[bytes]
        self.url = f"http://127.0.0.1:{_free_port()}"

    def __enter__(self) -> Self:
        configuration = self._folder / "prometheus.yaml"
        configuration.write_text(
            yaml.safe_dump(
                {
                    "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
                    "rule_files": [str(self._rules)],
                    "scrape_configs": [
                        {
                            "job_name": "unnamed",
                            "file_sd_configs": [{"files": [str(self._scraped)], "refresh_interval": "1s"}],
                        }
                    ],
                }
            )
        )
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    self._program,
                    f"--config.file={configuration}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address={self.url.removeprefix('http://')}",
                    "--log.level=warn",
                ],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        limit = time.monotonic() + _START_SECONDS
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > limit:
                self.__exit__()
                said = (self._folder / "prometheus.log").read_text()
                raise RuntimeError(f"Prometheus did not start: {said}")
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def scrape(self, addresses: Mapping[str, str]) -> None:
        """Scrape these from now on: names of jobs, each with an address."""
        groups = [{"targets": [address], "labels": {"job": job}} for job, address in addresses.items()]
        new = self._scraped.with_suffix(".new")
        new.write_text(json.dumps(groups))
        os.replace(new, self._scraped)  # noqa: PTH105 - the same, and atomic as well

    def scraped(self) -> list[dict[str, Any]]:
        """What is scraped, with its `health`."""
        return list(self._get("targets", state="active")["activeTargets"])

    def rules(self) -> list[dict[str, Any]]:
        """The rules that are loaded, with their `health`."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def firing(self) -> list[dict[str, Any]]:
        """The alerts that fire now."""
        return [alert for alert in self._get("alerts")["alerts"] if alert["state"] == "firing"]

    def at(self, expression: str) -> list[dict[str, Any]]:
        """What an expression gives now."""
        return list(self._get("query", query=expression)["result"])

    def between(self, expression: str, start: float, end: float, step: float = 1.0) -> list[dict[str, Any]]:
        """What an expression gives over a time."""
        asked = {"query": expression, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
        return list(self._get("query_range", **asked)["result"])

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer:  # noqa: S310 - loopback
                return bool(answer.status == 200)
        except OSError:
            return False

    def _get(self, what: str, **parameters: str) -> dict[str, Any]:
        url = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310 - loopback
                found: dict[str, Any] = json.load(answer)["data"]
                return found
        except urllib.error.HTTPError as error:
            raise ValueError(f"{parameters}: {json.load(error).get('error')}") from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
