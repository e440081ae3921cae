"""The loop that sends: one worker for each sink, which claims, sends and settles."""

from poller.delivery.attempt import attempt
from poller.delivery.worker import SinkWorker

__all__ = ["SinkWorker", "attempt"]
