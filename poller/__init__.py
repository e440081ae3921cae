"""bedrock-poller: tells you when Amazon Bedrock's long jobs change state."""

__version__ = "0.1.0"
