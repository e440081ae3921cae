"""The loop that looks: lists and gets jobs, diffs them against the snapshot, records what changed."""

from poller.polling.cycle import Cycle, Report
from poller.polling.rehearsal import Rehearsal
from poller.polling.scheduler import PollScheduler

__all__ = ["Cycle", "PollScheduler", "Rehearsal", "Report"]
