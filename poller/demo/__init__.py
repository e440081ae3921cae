"""The whole thing without AWS: a simulated Bedrock, the daemon, and a receiver that verifies."""

from poller.demo.demo import Demo, Verdict

__all__ = ["Demo", "Verdict"]
