"""`sts:GetCallerIdentity`, the one question of another service that a client of the simulator asks.

It speaks the query protocol: a form goes in, XML comes out. Every other action is refused.
"""

from __future__ import annotations

from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from poller.simulator.wire import ApiError, HttpRequest

CONTENT_TYPE = "text/xml"

_ANSWER = """<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<GetCallerIdentityResult><Arn>arn:aws:iam::{account}:user/simulated</Arn><UserId>{key}</UserId>
<Account>{account}</Account></GetCallerIdentityResult>
<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></GetCallerIdentityResponse>"""
_ERROR = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>{code}</Code><Message>{message}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"""


def is_asked(request: HttpRequest) -> bool:
    """Whether a request is for STS: its form is posted to the root, where Bedrock has no operation."""
    return request.method == "POST" and request.path == "/"


def answer(request: HttpRequest, *, account: str, access_key: str, request_id: str) -> str:
    """Say whose access key a request is signed with.

    Raises:
        ApiError: It asks for something else.
    """
    action = parse_qs(request.body.decode("latin-1")).get("Action", [""])[0]
    if action != "GetCallerIdentity":
        raise ApiError("InvalidAction", f"Could not find operation {action[:100]} for version 2011-06-15")
    return _ANSWER.format(account=account, key=escape(access_key), request_id=request_id)


def refusal(error: ApiError, request_id: str) -> str:
    """An error, as STS writes it."""
    return _ERROR.format(code=error.code, message=escape(error.message), request_id=request_id)
