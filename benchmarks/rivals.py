"""The code that a good engineer would write without this project."""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import aiohttp
import boto3
import requests
from standardwebhooks import Webhook

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from poller.model import Event


def list_everything() -> int:
    """Paginate the batch jobs with plain boto3, and do nothing with them; returns how many."""
    client = boto3.client("bedrock")
    pages = client.get_paginator("list_model_invocation_jobs").paginate(maxResults=1000)
    found = sum(len(page["invocationJobSummaries"]) for page in pages)
    client.close()
    return found


def get_each(arns: Sequence[str]) -> list[str]:
    """Get every open job with plain boto3, one by one; returns their statuses."""
    client = boto3.client("bedrock")
    statuses = [str(client.get_model_invocation_job(jobIdentifier=arn)["status"]) for arn in arns]
    client.close()
    return statuses


def get_in_turn(
    arns: Sequence[str], may_get: Callable[[int], bool], ended: Callable[[str, str], None]
) -> None:
    """Get the open jobs with plain boto3, one after the other, until all have ended.

    Args:
        arns: The jobs.
        may_get: Waits until one more Get is allowed, given how many were made; false to stop.
        ended: Called with a job that has ended, and its status.
    """
    # The default session keeps the credentials that it found first.
    session = boto3.Session()
    batch, runtime = session.client("bedrock"), session.client("bedrock-runtime")
    jobs = deque(arns)
    made = 0
    while jobs and may_get(made):
        made += 1
        arn = jobs.popleft()
        if ":async-invoke/" in arn:
            status = str(runtime.get_async_invoke(invocationArn=arn)["status"])
        else:
            status = str(batch.get_model_invocation_job(jobIdentifier=arn)["status"])
        if status == "InProgress":
            jobs.append(arn)
        else:
            ended(arn, status)
    batch.close()
    runtime.close()


def post_with_aiohttp(url: str, events: Sequence[Event], concurrency: int) -> None:
    """Post every body over kept connections; unsigned, stores nothing, tries once."""

    async def main() -> None:
        waiting = iter(events)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as session:

            async def work() -> None:
                for event in waiting:
                    async with session.post(url, data=event.body) as response:
                        await response.read()

            await asyncio.gather(*(work() for _ in range(concurrency)))

    asyncio.run(main())


def post_with_requests(url: str, events: Sequence[Event], secret: str) -> None:
    """Sign and post every body in a loop over one kept connection; stores nothing, tries once."""
    webhook = Webhook(secret)
    with requests.Session() as session:
        for event in events:
            now = datetime.now(UTC)
            headers = {
                "webhook-id": event.id,
                "webhook-timestamp": str(int(now.timestamp())),
                "webhook-signature": webhook.sign(event.id, now, event.body.decode()),
            }
            session.post(url, data=event.body, headers=headers, timeout=10).raise_for_status()
