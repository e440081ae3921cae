"""The loop that sends: one worker for each sink, which claims, sends and settles."""

from poller.delivery.attempt import attempt, close_sink
from poller.delivery.worker import SinkWorker

__all__ = ["SinkWorker", "attempt", "close_sink"]
