"""A rival as a program, so that its memory can be measured: holds the status of everything in a dictionary.

It asks as boto3's paginator does, page by page, but by plain HTTP without the SDK. That makes the same calls,
needs less memory, and takes a minute less for each few hundred thousand jobs.
"""

import json
import os
from http.client import HTTPConnection
from urllib.parse import urlsplit


def hold_everything(url: str) -> dict[str, str]:
    """List all jobs, and keep each one's status by its ARN."""
    held: dict[str, str] = {}
    connection = HTTPConnection(urlsplit(url).netloc, timeout=60)
    target = first = "/model-invocation-jobs?maxResults=1000&sortBy=CreationTime"
    while target:
        connection.request("GET", target)
        page = json.loads(connection.getresponse().read())
        held.update((job["jobArn"], job["status"]) for job in page["invocationJobSummaries"])
        token = page.get("nextToken")
        target = f"{first}&nextToken={token}" if token else ""
    connection.close()
    return held


if __name__ == "__main__":
    hold_everything(os.environ["AWS_ENDPOINT_URL_BEDROCK"])
