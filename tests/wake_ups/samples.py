"""Messages as AWS sends them."""

from __future__ import annotations

import json
from typing import Any

ACCOUNT = "123456789012"
REGION = "us-east-1"
JOB = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:model-invocation-job/abcdefghwxyz"
CUSTOMIZATION = (
    f"arn:aws:bedrock:{REGION}:{ACCOUNT}:model-customization-job/amazon.nova-lite-v1:0:300k/abcdefghwxyz"
)


def event(source: str, detail_type: str, detail: Any, **members: Any) -> dict[str, Any]:
    """An event of EventBridge."""
    return {
        "version": "0",
        "id": "a1b2c3d4-a1b2-a1b2-a1b2-a1b2c3d4e5f6",
        "detail-type": detail_type,
        "source": source,
        "account": ACCOUNT,
        "time": "2026-11-20T10:00:00Z",
        "region": REGION,
        "resources": [],
        "detail": detail,
        **members,
    }


def native(arn: str = JOB, status: str = "Completed") -> dict[str, Any]:
    """Bedrock's own event of a batch job, with its peculiar times."""
    detail = {
        "version": "0.0",
        "accountId": ACCOUNT,
        "batchJobName": "nightly",
        "batchJobArn": arn,
        "batchModelId": "anthropic.claude-3-haiku-20240307-v1:0",
        "status": status,
        "failureMessage": "",
        "creationTime": "Aug 28, 2024, 10:47:53 PM",
    }
    when = "Wed Aug 28 22:58:30 UTC 2024"
    return event("aws.bedrock", "Batch Inference Job State Change", detail, resources=[arn], time=when)


def customization(**detail: Any) -> dict[str, Any]:
    """Bedrock's own event of a customization job."""
    members = {"version": "0.0", "jobName": "abcd-wxyz", "jobArn": CUSTOMIZATION, "jobStatus": "Failed"}
    return event("aws.bedrock", "Model Customization Job State Change", {**members, **detail})


def created(key: str, bucket: str = "a-bucket") -> dict[str, Any]:
    """An object was created, by EventBridge, which does not escape the key."""
    detail = {
        "version": "0",
        "bucket": {"name": bucket},
        "object": {"key": key, "size": 5, "etag": "b1946ac92492d2347c6235b4d2611184"},
        "reason": "PutObject",
    }
    return event("aws.s3", "Object Created", detail)


def notification(*records: tuple[str, str], bucket: str = "a-bucket") -> dict[str, Any]:
    """S3's own notification: names of events, and keys as they are escaped there."""
    return {
        "Records": [
            {
                "eventVersion": "2.1",
                "eventSource": "aws:s3",
                "awsRegion": REGION,
                "eventName": name,
                "s3": {"bucket": {"name": bucket}, "object": {"key": key, "size": 5}},
            }
            for name, key in records
        ]
    }


TEST = {
    "Service": "Amazon S3",
    "Event": "s3:TestEvent",
    "Time": "2026-11-20T10:00:00.000Z",
    "Bucket": "a-bucket",
    "RequestId": "5582815E1AEA5ADF",
    "HostId": "8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR",
}


def enveloped(message: Any, times: int = 1) -> Any:
    """The same in an envelope of SNS, or in several."""
    for _ in range(times):
        topic = f"arn:aws:sns:{REGION}:{ACCOUNT}:topic"
        message = {"Type": "Notification", "TopicArn": topic, "Message": json.dumps(message)}
    return message


GARBAGE = (
    "",
    "hello",
    "null",
    "[]",
    "[" * 100_000,
    '{"a":' * 100_000,
    "9" * 5000,
    "\ud800",
    json.dumps({}),
    json.dumps({"Records": []}),
    json.dumps({"Records": [{}]}),
    json.dumps({"Records": [{"eventSource": "aws:ses", "eventName": "x"}]}),
    json.dumps({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": []}]}),
    json.dumps(notification(*[("ObjectCreated:Put", "k")] * 101)),
    json.dumps({"Type": "SubscriptionConfirmation", "Message": "confirm", "SubscribeURL": "https://…"}),
    json.dumps(enveloped(native(), times=4)),
    json.dumps(event("aws.s3", "Object Created", {"bucket": "x"})),
    json.dumps(event("my.app", "Done", {}, account="nobody")),
    json.dumps(event("my.app", "Done", {}, region=None)),
    json.dumps(created("k" * 1025)),
    json.dumps(created("k")) + " " * (1024 * 1024),
)
"""What nothing can be made of."""
