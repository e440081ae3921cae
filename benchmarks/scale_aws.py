"""A lean AWS of many accounts: STS, and the two lists of jobs, for the benchmark of replicas.

A role's account number goes into the access key that STS gives out, and so comes back with every request that
is signed with it; the region is in the same header. So one server tells all targets apart, and notes when
each was listed. Every (account, region, kind) has two jobs of its own, both of which have ended. Answers are
late by a latency of their own, without anybody waiting for it: the loop writes them when their time has come.

`/control/listed` tells when each target was listed, by the monotonic clock of the machine, and
`/control/forget` forgets it.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

from benchmarks.serving import first_request, spawned

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

_SUBMITTED = datetime(2025, 11, 3, 9, tzinfo=UTC)
_BETWEEN = timedelta(minutes=5)
_LASTS = timedelta(minutes=20)
_JOBS = 2
_BATCH = (
    '{"jobArn":"arn:aws:bedrock:%(region)s:%(account)s:model-invocation-job/%(id)s","jobName":"nightly-%(id)s",'
    '"modelId":"arn:aws:bedrock:%(region)s::foundation-model/amazon.nova-lite-v1:0","status":"Completed",'
    '"roleArn":"arn:aws:iam::%(account)s:role/batch-inference","submitTime":"%(submitted)s",'
    '"lastModifiedTime":"%(ended)s","endTime":"%(ended)s","timeoutDurationInHours":24,'
    '"inputDataConfig":{"s3InputDataConfig":{"s3InputFormat":"JSONL","s3Uri":"s3://bucket/input/%(id)s"}},'
    '"outputDataConfig":{"s3OutputDataConfig":{"s3Uri":"s3://bucket/output/"}}}'
)
_INVOCATION = (
    '{"invocationArn":"arn:aws:bedrock:%(region)s:%(account)s:async-invoke/%(id)s","status":"Completed",'
    '"modelArn":"arn:aws:bedrock:%(region)s::foundation-model/amazon.nova-reel-v1:0",'
    '"submitTime":"%(submitted)s","lastModifiedTime":"%(ended)s","endTime":"%(ended)s",'
    '"outputDataConfig":{"s3OutputDataConfig":{"s3Uri":"s3://bucket/output/%(id)s"}}}'
)
_GRANTED = (
    "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA%s0000</AccessKeyId>"
    "<SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken>"
    "<Expiration>%s</Expiration></Credentials></AssumeRoleResult>"
    "<ResponseMetadata><RequestId>bench</RequestId></ResponseMetadata></AssumeRoleResponse>"
)


@dataclass(slots=True)
class Aws:
    """What the server knows.

    Args:
        latency: The least and the most seconds that an answer takes.
    """

    latency: tuple[float, float]
    listed: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    assumed: int = 0

    def answer(self, target: str, head: bytes, body: bytes) -> tuple[float, str, bytes]:
        """The seconds until the answer is written, its content type, and the answer."""
        if target.startswith("/control/"):
            told = json.dumps({"assumed": self.assumed, "listed": self.listed}).encode()
            if target == "/control/forget":
                self.listed.clear()
            return 0, "application/json", told
        later = random.uniform(*self.latency)  # noqa: S311 - a latency, no secret
        if target == "/":
            self.assumed += 1
            return later, "text/xml", _granted(body)
        scope = head[head.index(b"Credential=") + 11 :].split(b"/", 3)
        account, region = scope[0][4:16].decode(), scope[2].decode()
        url = urlsplit(target)
        batch = url.path == "/model-invocation-jobs"
        kind = "model_invocation_job" if batch else "async_invoke"
        self.listed[f"{account}/{region}/{kind}"].append(time.monotonic())
        since = parse_qs(url.query).get("submitTimeAfter")
        return later, "application/json", _list(account, region, batch, since[0] if since else None)


def _granted(body: bytes) -> bytes:
    asked = parse_qs(body.decode())
    account = unquote(asked["RoleArn"][0]).split(":")[4]
    until = datetime.now(UTC) + timedelta(hours=1)
    return (_GRANTED % (account, until.strftime("%Y-%m-%dT%H:%M:%SZ"))).encode()


def _list(account: str, region: str, batch: bool, since: str | None) -> bytes:
    edge = datetime.fromisoformat(since) if since else datetime.min.replace(tzinfo=UTC)
    jobs = []
    for number in range(_JOBS):
        submitted = _SUBMITTED + _BETWEEN * number
        if submitted > edge:
            times = {"submitted": _iso(submitted), "ended": _iso(submitted + _LASTS)}
            named = {"account": account, "region": region, "id": f"{number:012}"}
            jobs.append((_BATCH if batch else _INVOCATION) % {**named, **times})
    key = "invocationJobSummaries" if batch else "asyncInvokeSummaries"
    return f'{{"{key}":[{",".join(jobs)}]}}'.encode()


def _iso(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


class _Protocol(asyncio.Protocol):
    """HTTP/1.1 with keep-alive and content-length, and nothing else."""

    def __init__(self, aws: Aws, loop: asyncio.AbstractEventLoop) -> None:
        self._aws = aws
        self._loop = loop
        self._buffer = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101 - a TCP server gives no other
        self._transport = transport

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (request := first_request(self._buffer)) is not None:
            head, body, self._buffer = request
            later, kind, answer = self._aws.answer(head.split(b" ", 2)[1].decode(), head, body)
            answered = (
                f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nx-amzn-requestid: bench\r\n"
                f"date: {formatdate(usegmt=True)}\r\ncontent-length: {len(answer)}\r\n\r\n"
            ).encode() + answer
            self._loop.call_later(later, self._write, answered)

    def _write(self, answer: bytes) -> None:
        if self._transport is not None:
            self._transport.write(answer)


def _serve(latency: tuple[float, float], ready: Connection) -> None:
    async def main() -> None:
        loop, aws = asyncio.get_running_loop(), Aws(latency)
        server = await loop.create_server(lambda: _Protocol(aws, loop), "127.0.0.1", 0, backlog=1024)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


@contextmanager
def simulated(latency: tuple[float, float]) -> Iterator[tuple[str, int]]:
    """Serve until the end of the block, and give the URL and the process id."""
    with spawned(_serve, latency) as found:
        yield found
