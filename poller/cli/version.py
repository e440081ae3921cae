"""What `version` prints."""

from poller import __version__

LINE = f"bedrock-poller {__version__}"
