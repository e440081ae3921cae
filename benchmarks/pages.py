"""A lean server of job lists: as little as possible between the client under measurement and its bytes.

It serves `ListModelInvocationJobs` and `GetModelInvocationJob` of a made-up history, with the members that
the service sends, and an empty `ListAsyncInvokes`. A page is rendered when it is asked for, from a template
made once, so a history of a million jobs costs no memory and little time. It runs in a process of its own:
what it burns is not the client's.

Jobs are numbered by submission. All below `ended` have ended, those from `running` on have not begun, and
those between are in progress; so the whole account is three numbers, which the paths under `/control/` move.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.parse
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache

PAGE = 1000
_START = datetime(2020, 1, 1, tzinfo=UTC)
# A thousand a day, so that a page is a day, and all pages share their times of day.
_STEP = timedelta(seconds=86.4)
_LASTS = timedelta(minutes=20)
_ARN = "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/"

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_THREE = 36**3
_IDENTIFIERS = 36**12
# Odd and no multiple of 3, so it has an inverse; near the golden section, so neighbours lie far apart.
_SCATTER = 2_928_347_710_493_255_957
_GATHER = pow(_SCATTER, -1, _IDENTIFIERS)


@cache
def _triples() -> list[str]:
    return [_DIGITS[n // 1296] + _DIGITS[n // 36 % 36] + _DIGITS[n % 36] for n in range(_THREE)]


def identifier(number: int) -> str:
    """The job's identifier: scattered, as the service's are, because ordered ones flatter an index."""
    high, low = divmod(number * _SCATTER % _IDENTIFIERS, _THREE * _THREE)
    triples = _triples()
    return triples[high // _THREE] + triples[high % _THREE] + triples[low // _THREE] + triples[low % _THREE]


def number_of(identifier: str) -> int:
    """The inverse of `identifier`."""
    return int(identifier, 36) * _GATHER % _IDENTIFIERS


def arn_of(number: int) -> str:
    """The job's ARN."""
    return _ARN + identifier(number)


def _job(
    identifier: str, number: str, status: str, *, submitted: str, modified: str, ended: str, due: str
) -> str:
    end = f'"endTime":"{ended}",' if ended else ""
    return (
        f'{{"jobArn":"{_ARN}{identifier}",'
        f'"jobName":"nightly-summaries-{number}",'
        '"modelId":"arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0",'
        '"roleArn":"arn:aws:iam::123456789012:role/batch-inference",'
        f'"status":"{status}",'
        f'"submitTime":"{submitted}",'
        f'"lastModifiedTime":"{modified}",{end}'
        '"inputDataConfig":{"s3InputDataConfig":{"s3InputFormat":"JSONL",'
        f'"s3Uri":"s3://bucket/input/{number}"}}}},'
        '"outputDataConfig":{"s3OutputDataConfig":{"s3Uri":"s3://bucket/output/"}},'
        f'"timeoutDurationInHours":24,"jobExpirationTime":"{due}"}}'
    )


def _iso(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _date(moment: datetime) -> bytes:
    return moment.date().isoformat().encode()


@cache
def _page_of_ended() -> bytes:
    """A page of ended jobs with the dates left as `<0>` and `<1>`, the rest for `%`."""
    jobs = []
    for place in range(PAGE):
        submitted = _START + _STEP * place
        ended = submitted + _LASTS
        first = "<0>" + _iso(submitted)[10:]
        last = ("<0>" if ended.date() == _START.date() else "<1>") + _iso(ended)[10:]
        due = "<1>" + first[3:]
        jobs.append(_job("%b", "%d", "Completed", submitted=first, modified=last, ended=last, due=due))
    return ",".join(jobs).encode()


@dataclass(slots=True)
class Account:
    """What the account holds.

    Args:
        jobs: How many jobs there are.
        open_jobs: How many of the newest have not ended.
        waiting: How many of these have not begun.
    """

    jobs: int
    open_jobs: int = 0
    waiting: int = 0
    ended: int = field(init=False)
    running: int = field(init=False)

    def __post_init__(self) -> None:
        self.ended = self.jobs - self.open_jobs
        self.running = self.jobs - self.waiting

    def first_after(self, moment: datetime) -> int:
        """The number of the first job submitted after `moment`."""
        return max(0, (moment - _START) // _STEP + 1)

    def summary(self, number: int) -> str:
        """One job as JSON."""
        submitted = _START + _STEP * number
        status, modified, ended = "Submitted", submitted, ""
        if number < self.ended:
            status, modified = "Completed", submitted + _LASTS
            ended = _iso(modified)
        elif number < self.running:
            status, modified = "InProgress", submitted + timedelta(minutes=1)
        due = _iso(submitted + timedelta(days=1))
        return _job(
            identifier(number),
            str(number),
            status,
            submitted=_iso(submitted),
            modified=_iso(modified),
            ended=ended,
            due=due,
        )

    def page(self, start: int) -> bytes:
        """The page of the list that begins with a job."""
        stop = min(start + PAGE, self.jobs)
        if start % PAGE == 0 and start + PAGE <= self.ended:
            day = _START + _STEP * start
            form = _page_of_ended().replace(b"<0>", _date(day))
            form = form.replace(b"<1>", _date(day + timedelta(days=1)))
            numbers = range(start, stop)
            items = form % tuple(
                value for number in numbers for value in (identifier(number).encode(), number, number)
            )
        else:
            items = ",".join(map(self.summary, range(start, stop))).encode()
        token = b',"nextToken":"%d"' % stop if stop < self.jobs else b""
        return b'{"invocationJobSummaries":[%b]%b}' % (items, token)

    def pages(self) -> int:
        """How many pages list all of it."""
        return -(-self.jobs // PAGE)

    def tick(self) -> None:
        """One new job is submitted and begins; the oldest open one ends."""
        self.jobs += 1
        self.running += 1
        self.ended += 1


_IDENTITY = (
    b"<GetCallerIdentityResponse><GetCallerIdentityResult><Account>123456789012</Account>"
    b"<Arn>arn:aws:iam::123456789012:user/bench</Arn></GetCallerIdentityResult></GetCallerIdentityResponse>"
)


@dataclass(slots=True)
class PageServer:
    """Answers for an account; give it to `serving`.

    `/control/count` tells how often jobs were listed and got; `/control/tick` moves the account on;
    `/control/arm` lets every listing from then on show one new status, alternately that a job began and that
    one ended, until all have; `/control/shown` tells when each was shown first. `/control/hold?after=N`
    leaves every listing after the next N without an answer, until `/control/release`.
    """

    account: Account
    _lists: int = 0
    _gets: int = 0
    _armed: bool = False
    _hold_after: int = sys.maxsize
    _shown: list[tuple[str, str, float]] = field(default_factory=list)

    def __call__(self, target: str, body: bytes) -> bytes | None:
        """Answer one request."""
        if b"Action=GetCallerIdentity" in body:
            return _IDENTITY
        url = urllib.parse.urlsplit(target)
        if url.path.startswith("/control/"):
            return json.dumps(self._control(url.path.rpartition("/")[2], url.query)).encode()
        if url.path.startswith("/async-invoke"):
            return b'{"asyncInvokeSummaries":[]}'
        if not url.path.startswith("/model-invocation-jobs"):
            self._gets += 1
            return self.account.summary(number_of(url.path.rpartition("/")[2][-12:])).encode()
        self._lists += 1
        if self._lists > self._hold_after:
            return None
        return self._list(dict(urllib.parse.parse_qsl(url.query)))

    def _control(self, name: str, query: str) -> object:
        match name:
            case "tick":
                self.account.tick()
            case "arm":
                self._armed = True
            case "hold":
                self._hold_after = self._lists + int(query.removeprefix("after="))
            case "release":
                self._hold_after = sys.maxsize
            case "shown":
                return self._shown
        return {"lists": self._lists, "gets": self._gets, "armed": self._armed}

    def _list(self, asked: dict[str, str]) -> bytes:
        account = self.account
        if "nextToken" in asked:
            return account.page(int(asked["nextToken"]))
        since = asked.get("submitTimeAfter")
        start = account.first_after(datetime.fromisoformat(since)) if since else 0
        if not self._armed:
            return account.page(start)
        if account.running == account.ended:
            shown, status = account.running, "InProgress"
            account.running += 1
        else:
            shown, status = account.ended, "Completed"
            account.ended += 1
        self._armed = account.ended < account.jobs
        body = account.page(start)
        # Just before it is written: what the socket takes counts as ours.
        self._shown.append((arn_of(shown), status, time.monotonic()))
        return body
