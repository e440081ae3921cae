"""A queue of wake-ups on a bad day: true messages, copies, late ones, ones about other jobs, and garbage.

EventBridge and S3 promise no order and not one copy, and anybody with permission may write to a queue. The
queue itself is moto's.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Self

import boto3
from moto.server import ThreadedMotoServer

from poller.kinds import MODEL_INVOCATION_JOB
from poller.simulator.seeding import Dice

if TYPE_CHECKING:
    from poller.simulator import Simulator

_REGION = "us-east-1"
_MOST_KEPT = 50
_NOBODY = "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/000000000000"
_GARBAGE = (
    "",
    "not JSON",
    "[" * 5000,
    '{"detail-type": "Batch Inference Job State Change", "detail": {"batchJobArn": 7}}',
    '{"detail-type": 1, "source": null, "detail": []}',
    '{"Type": "Notification", "Message": "{"}',
    '{"Records": [{"eventSource": "aws:s3", "s3": {"object": {"key": "%zz"}}}]}',
    '{"Records": "none"}',
    "\u202e\u0007 {}",
)


class Messages:
    """Writes messages about the jobs of a simulator, and others; a context manager.

    Args:
        simulator: Whose jobs.
        seed: Decides what is written.
    """

    def __init__(self, simulator: Simulator, seed: int) -> None:
        self._simulator = simulator
        self._dice = Dice(seed, "messages")
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._told: dict[str, int] = {}
        self._kept: list[str] = []
        self.count = 0

    def __enter__(self) -> Self:
        # It writes a line for each request.
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self._endpoint = f"http://{host}:{port}"
        self._client: Any = boto3.client(
            "sqs",
            endpoint_url=self._endpoint,
            region_name=_REGION,
            aws_access_key_id="AKID",
            aws_secret_access_key="not-a-secret",
        )
        self.url: str = self._client.create_queue(QueueName="wake-ups")["QueueUrl"]
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._server.stop()

    @property
    def settings(self) -> str:
        """The `wake_ups` of the configuration, as JSON."""
        return json.dumps([{"type": "sqs", "queue_url": self.url, "region": _REGION}])

    @property
    def endpoint(self) -> str:
        """Where SQS is."""
        return self._endpoint

    def step(self) -> None:
        """Perhaps tell of what has happened since, and perhaps something else."""
        for job in self._simulator.jobs():
            if job.kind != MODEL_INVOCATION_JOB.name:
                continue
            entered = self._simulator.history(job.arn)
            for _, status in entered[self._told.get(job.arn, 0) :]:
                self._hear(job.arn, status)
            self._told[job.arn] = len(entered)
        if self._dice.chance(0.1):
            self._send(self._dice.pick(_GARBAGE) or " ")
        if self._dice.chance(0.05):
            self._send(_native(_NOBODY, "Completed"))
        if self._dice.chance(0.05):
            self._send(_created("another-bucket", "some/where/out.jsonl"))
        if self._kept and self._dice.chance(0.3):
            self._send(self._kept.pop(int(self._dice.between(0, len(self._kept)))))

    def _hear(self, arn: str, status: str) -> None:
        text = _native(arn, status)
        if self._dice.chance(0.6):
            self._send(text)
        # A copy, or the only one, that comes at some other time.
        if self._dice.chance(0.3) and len(self._kept) < _MOST_KEPT:
            self._kept.append(text)

    def _send(self, text: str) -> None:
        self.count += 1
        self._client.send_message(QueueUrl=self.url, MessageBody=text)


def _native(arn: str, status: str) -> str:
    """The event that EventBridge forwards; its times are not ISO 8601."""
    region, account = arn.split(":")[3:5]
    return json.dumps(
        {
            "version": "0",
            "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
            "detail-type": "Batch Inference Job State Change",
            "source": "aws.bedrock",
            "account": account,
            "time": "Wed Aug 28 22:58:30 UTC 2024",
            "region": region,
            "resources": [arn],
            "detail": {
                "version": "0.0",
                "accountId": account,
                "batchJobName": "nightly",
                "batchJobArn": arn,
                "batchModelId": "anthropic.claude-3-sonnet-20240229-v1:0",
                "status": status,
                "failureMessage": "",
                "creationTime": "Aug 28, 2024, 10:47:53 PM",
            },
        }
    )


def _created(bucket: str, key: str) -> str:
    """S3's own notification of a new object."""
    entry = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": _REGION,
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": bucket}, "object": {"key": key, "size": 1}},
    }
    return json.dumps({"Records": [entry]})
