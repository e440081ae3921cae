"""A disk that is really full.

Where mounting is permitted, the store lies on a small tmpfs of our own in a mount namespace of our own, which
vanishes with the process; a file that takes all the room fills it, and ENOSPC is the kernel's. Elsewhere a
limit on the size of files does: whatever would grow beyond it is refused, by the kernel too.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import sys
from pathlib import Path

_NEW_MOUNTS, _NEW_USERS = 0x00020000, 0x10000000
_PRIVATE = 0x4000 | 1 << 18
_DETACH = 2
_FILLER = "filler"
_LEAST_LIMIT = 16 * 1024
_SMALL = 256 * 1024 * 1024
SIZE = 16 * 1024 * 1024
"""Of a disk; SQLite's log alone takes 4 MiB until it begins anew, and must not fill the disk by itself."""


def private_disks(*folders: Path, size: int = SIZE) -> bool:
    """Mount a small disk on each folder, for this process and its children alone.

    Call it once, before there are threads.

    Returns:
        Whether that was permitted.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_NEW_MOUNTS) != 0:
        if libc.unshare(_NEW_MOUNTS | _NEW_USERS) != 0:
            return False
        try:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {user} 1")
            Path("/proc/self/gid_map").write_text(f"0 {group} 1")
        except OSError:
            return False
    # Nothing that is mounted here may be seen outside.
    if libc.mount(b"none", b"/", None, _PRIVATE, None) != 0:
        return False
    options = f"size={size}".encode()
    return all(libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, options) == 0 for folder in folders)


def unmount(*folders: Path) -> None:
    """Take the disks away again."""
    for folder in folders:
        ctypes.CDLL(None).umount2(os.fsencode(folder), _DETACH)


def is_small(folder: Path) -> bool:
    """Whether a folder lies on a disk that can be filled."""
    room = os.statvfs(folder)
    return room.f_blocks * room.f_frsize <= _SMALL


def fill(folder: Path) -> bool:
    """Leave no room on the disk of a folder; false if that disk is too large for it."""
    if not is_small(folder):
        return False
    room = os.statvfs(folder)
    descriptor = os.open(folder / _FILLER, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        # Somebody may take some of it first.
        with contextlib.suppress(OSError):
            if room.f_bavail:
                size = os.fstat(descriptor).st_size
                os.posix_fallocate(descriptor, size, room.f_bavail * room.f_frsize)
    finally:
        os.close(descriptor)
    return True


def limit(folder: Path, pid: int) -> None:
    """Let no file of a process grow beyond the size of the store's log; where `fill` cannot."""
    largest = max([_LEAST_LIMIT, *(log.stat().st_size for log in folder.glob("*-wal"))])
    if sys.platform.startswith("linux"):
        hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest, hard))


def make_room(folder: Path, pid: int | None = None) -> None:
    """End it; `pid` is the process whose files were limited, if it still runs."""
    (folder / _FILLER).unlink(missing_ok=True)
    if pid is not None and sys.platform.startswith("linux"):
        with contextlib.suppress(ProcessLookupError):
            hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
