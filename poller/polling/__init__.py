"""The loop that looks: lists and gets jobs, diffs them against the snapshot, records what changed."""

from poller.polling.cycle import Cycle, Rules, unlimited
from poller.polling.following import Follower
from poller.polling.ledger import Ledger
from poller.polling.rehearsal import Rehearsal
from poller.polling.scan import Report
from poller.polling.scheduler import PollScheduler

__all__ = ["Cycle", "Follower", "Ledger", "PollScheduler", "Rehearsal", "Report", "Rules", "unlimited"]
