"""A Security Token Service of a few lines: whoever assumes a role of an account gets a key of that account.

The one of moto makes up its keys, and the simulator tells accounts apart by them.
"""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

from tests.harness.receiver import Listening

_ANSWER = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>not-a-secret</SecretAccessKey>
<SessionToken>not-a-token</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>
<AssumedRoleUser><AssumedRoleId>AROA:s</AssumedRoleId><Arn>{role}/s</Arn></AssumedRoleUser>
</AssumeRoleResult></AssumeRoleResponse>"""


def role_of(account: str) -> str:
    """The role to assume in an account."""
    return f"arn:aws:iam::{account}:role/poller"


def key_of(account: str) -> str:
    """The access key that one has then."""
    return f"AKID{account}"


class Roles(Listening):
    """Listens on a free port of the loopback interface; a context manager."""

    def __init__(self) -> None:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        server.daemon_threads = True
        server.block_on_close = False
        super().__init__(server)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        asked = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
        role = asked["RoleArn"][0]
        answer = _ANSWER.format(key=key_of(role.split(":")[4]), role=role).encode()
        try:
            self.send_response(200)
            self.send_header("content-type", "text/xml")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
        except OSError:
            self.close_connection = True  # whoever asked has been killed

    def log_message(self, *_: object) -> None:
        pass
