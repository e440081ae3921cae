"""A lean server of job lists: as little as possible between the client under measurement and its bytes.

It serves `ListModelInvocationJobs` and `GetModelInvocationJob` of a made-up history, with the members that
the service sends. A page is rendered when it is asked for, so a history of a million jobs costs no memory. It
runs in a process of its own: what it burns is not the client's.
"""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

PAGE = 1000
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_START = datetime(2026, 1, 1, tzinfo=UTC)
_STEP = timedelta(seconds=7)


@dataclass(frozen=True, slots=True)
class History:
    """What the account holds.

    Args:
        jobs: How many jobs.
        open_jobs: How many of the newest are still running.
    """

    jobs: int
    open_jobs: int = 0

    @property
    def newest(self) -> datetime:
        """When the last job was submitted."""
        return _START + _STEP * (self.jobs - 1)

    def first_after(self, moment: datetime) -> int:
        """The number of the first job submitted after `moment`."""
        return max(0, (moment - _START) // _STEP + 1)

    def summary(self, number: int) -> str:
        """One job as JSON."""
        identifier = _identifier(number)
        submitted = _START + _STEP * number
        running = number >= self.jobs - self.open_jobs
        ended = submitted + timedelta(minutes=20)
        end = "" if running else f'"endTime":"{_iso(ended)}",'
        return (
            f'{{"jobArn":"arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/{identifier}",'
            f'"jobName":"nightly-summaries-{number}",'
            '"modelId":"arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0",'
            '"roleArn":"arn:aws:iam::123456789012:role/batch-inference",'
            f'"status":"{"InProgress" if running else "Completed"}",'
            f'"submitTime":"{_iso(submitted)}",'
            f'"lastModifiedTime":"{_iso(submitted if running else ended)}",{end}'
            '"inputDataConfig":{"s3InputDataConfig":{"s3InputFormat":"JSONL",'
            f'"s3Uri":"s3://bucket/input/{number}"}}}},'
            '"outputDataConfig":{"s3OutputDataConfig":{"s3Uri":"s3://bucket/output/"}},'
            f'"timeoutDurationInHours":24,"jobExpirationTime":"{_iso(submitted + timedelta(hours=24))}"}}'
        )


def _identifier(number: int) -> str:
    digits = []
    for _ in range(12):
        number, digit = divmod(number, 36)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


def _number(identifier: str) -> int:
    return int(identifier, 36)


def _iso(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


@dataclass(frozen=True, slots=True)
class PageServer:
    """Answers for a history; give it to `serving`."""

    history: History
    _cache: dict[int, bytes] = field(default_factory=dict)

    def __call__(self, target: str, _body: bytes) -> bytes:
        """Answer one GET."""
        url = urllib.parse.urlsplit(target)
        if not url.path.startswith("/model-invocation-jobs"):
            return self.history.summary(_number(url.path.rpartition("/")[2][-12:])).encode()
        asked = dict(urllib.parse.parse_qsl(url.query))
        if "nextToken" in asked:
            start = int(asked["nextToken"])
        elif "submitTimeAfter" in asked:
            start = self.history.first_after(datetime.fromisoformat(asked["submitTimeAfter"]))
        else:
            start = 0
        # The pages of a smaller history are kept, so that rendering them does not slow the client down.
        if self.history.jobs > 100 * PAGE:
            return self._page(start)
        if start not in self._cache:
            self._cache[start] = self._page(start)
        return self._cache[start]

    def _page(self, start: int) -> bytes:
        stop = min(start + PAGE, self.history.jobs)
        items = ",".join(self.history.summary(number) for number in range(start, stop))
        token = f',"nextToken":"{stop}"' if stop < self.history.jobs else ""
        return f'{{"invocationJobSummaries":[{items}]{token}}}'.encode()
