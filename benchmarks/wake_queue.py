"""A queue that is told of each end as EventBridge would tell it: SQS by moto, in a process of its own."""

from __future__ import annotations

import json
import logging
import threading
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import boto3

from benchmarks.serving import spawned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

REGION = "us-east-1"


@contextmanager
def queue() -> Iterator[tuple[str, Callable[[str], None]]]:
    """Serve a queue until the end of the block; gives its URL, and what sends the event of a job's end."""
    with spawned(_serve, None) as (url, _):
        session = boto3.Session(aws_access_key_id="x", aws_secret_access_key="x", region_name=REGION)  # noqa: S106
        client = session.client("sqs", endpoint_url=url)
        queue_url = client.create_queue(QueueName="bedrock-wake-ups")["QueueUrl"]

        def tell(arn: str) -> None:
            client.send_message(QueueUrl=queue_url, MessageBody=_event(arn))

        yield queue_url, tell
        client.close()


def _event(arn: str) -> str:
    """Bedrock's own event of a batch job that has completed, with its dates as Bedrock writes them."""
    account = arn.split(":")[4]
    now = datetime.now(UTC)
    return json.dumps(
        {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "Batch Inference Job State Change",
            "source": "aws.bedrock",
            "account": account,
            "time": now.strftime("%a %b %d %H:%M:%S UTC %Y"),
            "region": REGION,
            "resources": [arn],
            "detail": {
                "version": "0.0",
                "accountId": account,
                "batchJobName": "nightly-summaries",
                "batchJobArn": arn,
                "batchModelId": "anthropic.claude-3-haiku-20240307-v1:0",
                "status": "Completed",
                "failureMessage": "",
                "creationTime": now.strftime("%b %d, %Y, %I:%M:%S %p"),
            },
        }
    )


def _serve(_: None, ready: Connection) -> None:
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - slow to import, and only needed in this process

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    ready.send(server.get_host_and_port()[1])
    threading.Event().wait()
