"""Runs one command and tells what it cost; a program of its own, with as little in it as possible.

The kernel counts the memory of whoever starts a process as that process's peak, too. So a command whose peak
is to be measured is started by this small one instead of the large one that measures.

Writes two lines of JSON: the command's process id at once, and its cost at the end.
"""

import json
import os
import sys
import time


def main() -> None:
    """Run the arguments as a command."""
    began = time.monotonic()
    # Standard output is for what stands below.
    silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=silent)
    print(json.dumps(pid), flush=True)
    _, status, used = os.wait4(pid, 0)
    cost = {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - began,
        "cpu": used.ru_utime + used.ru_stime,
        "megabytes": used.ru_maxrss / 1024,
    }
    print(json.dumps(cost), flush=True)


if __name__ == "__main__":
    main()
