"""Bedrock as it answered when 0.1.0 was recorded, and receivers that note what they are sent.

The jobs of each step stand in `data/service.json`, as a list shows them and as a Get does. So the tests
depend on no simulator, and both versions of the program see the same.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.harness.receiver import Listening

ACCOUNT = "123456789012"
KINDS = {
    "async-invoke": ("async_invoke", "asyncInvokeSummaries"),
    "model-invocation-jobs": ("model_invocation_job", "invocationJobSummaries"),
    "model-invocation-job": ("model_invocation_job", ""),
}
"""What a path begins with: the kind, and the member of a list's answer that holds the jobs."""

# Headers by which a receiver knows what it got; the others belong to the connection.
_TELLING = ("content-type", "content-length", "user-agent", "x-team")
_REGION = re.compile(r"Credential=[^/]+/\d+/([a-z0-9-]+)/")
_IDENTITY = f"""<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<GetCallerIdentityResult><Arn>arn:aws:iam::{ACCOUNT}:user/contract</Arn><UserId>AIDACONTRACT</UserId>
<Account>{ACCOUNT}</Account></GetCallerIdentityResult>
<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></GetCallerIdentityResponse>"""


class Service(Listening):
    """Bedrock and STS at one step of the recording; a context manager.

    Args:
        steps: `{"at": time, "regions": {region: {kind: {"list": [summary], "get": {arn: job}}}}}` each.
    """

    def __init__(self, steps: list[dict[str, Any]]) -> None:
        self.step = 0
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                self._answer(*service._job(steps[service.step], self.path, self.headers["authorization"]))

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                self._answer(200, _IDENTITY, {"content-type": "text/xml"})

            def date_time_string(self, timestamp: float | None = None) -> str:
                at = datetime.fromisoformat(steps[service.step]["at"]).astimezone(UTC)
                return format_datetime(at, usegmt=True)

            def _answer(self, status: int, body: Any, headers: dict[str, str]) -> None:
                content = (body if isinstance(body, str) else json.dumps(body)).encode()
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.block_on_close = False
        super().__init__(server)

    @staticmethod
    def _job(step: dict[str, Any], target: str, authorization: str) -> tuple[int, Any, dict[str, str]]:
        url = urlsplit(target)
        _, root, *rest = url.path.split("/", 2)
        kind, member = KINDS[root]
        signed = _REGION.search(authorization)
        assert signed is not None
        jobs = step["regions"][signed[1]][kind]
        if rest:
            found = jobs["get"][unquote(rest[0])]
            return found["status"], found["body"], found["headers"]
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        listed = jobs["list"] if query.get("sortOrder") == "Descending" else jobs["list"][::-1]
        if after := query.get("submitTimeAfter"):
            edge = datetime.fromisoformat(after)
            listed = [job for job in listed if datetime.fromisoformat(job["submitTime"]) > edge]
        return 200, {member: listed}, {}


class Receiver(Listening):
    """A receiver of webhooks that gives one answer to all; a context manager.

    Args:
        status: The answer.
        port: Where it listens; 0 for a free port.
    """

    def __init__(self, status: int, port: int = 0) -> None:
        self.requests: list[dict[str, Any]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode("ascii")
                headers = {name.lower(): value for name, value in self.headers.items()}
                told = {
                    name: value
                    for name, value in headers.items()
                    if name.startswith("webhook-") or name in _TELLING
                }
                receiver.requests.append(
                    {"method": self.command, "path": self.path, "headers": told, "body": body}
                )
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        server.daemon_threads = True
        server.block_on_close = False
        super().__init__(server, "/hook")
