"""Wake-ups: messages of a queue that say where it is worth to look now.

A message never makes an event. It makes a target due; the poll that follows decides what has happened.
"""

from poller.wake_ups.audit import Audit
from poller.wake_ups.dispatcher import Dispatcher
from poller.wake_ups.sqs import QueueListener, SqsQueue

__all__ = ["Audit", "Dispatcher", "QueueListener", "SqsQueue"]
