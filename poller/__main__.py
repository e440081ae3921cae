"""`python -m poller` is `bedrock-poller`."""

from poller.cli import main

if __name__ == "__main__":
    main()
