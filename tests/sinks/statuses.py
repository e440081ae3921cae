"""Every HTTP status, and what it means for a delivery. Tried on every sink that speaks HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from poller.errors import DeliveryReason
from tests.sinks.samples import SECRET, webhook

if TYPE_CHECKING:
    from collections.abc import Callable

    from poller.sinks.sink import Sink

HTTP_SINKS: dict[str, Callable[[str], Sink[Any]]] = {"webhook": lambda url: webhook(url, secrets=[SECRET])}
"""How to make each sink that posts to a URL."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a status should come to; `None` stands for success."""

    reason: DeliveryReason | None
    permanent: bool = False
    park: bool = False


TAKEN = Verdict(None)
REFUSED = Verdict(DeliveryReason.CLIENT_ERROR, permanent=True)
REDIRECT = Verdict(DeliveryReason.REDIRECT)
SERVER_ERROR = Verdict(DeliveryReason.SERVER_ERROR)

TABLE: dict[int, Verdict] = {
    **dict.fromkeys([200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 250, 299], TAKEN),
    **dict.fromkeys([300, 301, 302, 303, 304, 305, 306, 307, 308, 399], REDIRECT),
    **dict.fromkeys([400, 402, 405, 406, 407, 409], REFUSED),
    **dict.fromkeys([401, 403, 404, 408], Verdict(DeliveryReason.CLIENT_ERROR)),
    410: Verdict(DeliveryReason.GONE, park=True),
    **dict.fromkeys([411, 412, 414, 415, 416, 417, 418, 420, 421, 422, 423, 424], REFUSED),
    413: Verdict(DeliveryReason.TOO_LARGE, permanent=True),
    425: Verdict(DeliveryReason.CLIENT_ERROR),
    429: Verdict(DeliveryReason.RATE_LIMITED),
    **dict.fromkeys([426, 428, 430, 431, 440, 444, 449, 450, 451, 494, 495, 496, 497, 498, 499], REFUSED),
    **dict.fromkeys([500, 501, 502, 503, 504, 505, 506, 507, 508, 509, 510, 511], SERVER_ERROR),
    **dict.fromkeys([520, 521, 522, 523, 524, 525, 526, 527, 529, 530, 561, 598, 599], SERVER_ERROR),
    **dict.fromkeys([600, 700, 999], Verdict(DeliveryReason.RESPONSE)),
}
