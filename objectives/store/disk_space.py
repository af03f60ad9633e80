"""Full disks: a writer waits until there is space, and the trial does not fail."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable
from operator import gt
from pathlib import Path
from typing import TypeVar

from objectives.store import heartbeat

POLL_SECONDS = 1.0
"""Seconds between two looks at the free space."""
RETRY_SECONDS = 15.0
"""Seconds until a write is tried again although free space has not grown: quotas do not show."""
WARN_SECONDS = 60.0
"""Seconds between two warnings of one waiting writer."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_LOG = logging.getLogger(__name__)

T = TypeVar("T")


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that a disk, or a quota on it, is full.

    Libraries in Rust, such as safetensors and tokenizers, give the number in the message only.
    """
    if isinstance(error, OSError):
        return error.errno in _FULL
    return any(f"(os error {number})" in str(error) for number in _FULL)


def retry_when_full(write: Callable[[], T], *, disk: Path, what: str) -> T:
    """Write; where the disk is full, wait for space and write again from the beginning.

    From the beginning, because a system may drop what it could not flush and then report success.

    Args:
        write: Removes what it had written when it fails.
        disk: A folder on the disk that is written to.
        what: Name of what is written, for messages.
    """
    warned = -WARN_SECONDS
    reason = ""
    while True:
        try:
            result = write()
        except Exception as error:
            if not is_disk_full(error):
                raise
            reason = f"no space for {what} on the disk of {disk}; waiting until there is ({error})"
        else:
            if reason:
                _LOG.warning("there is space again: %s is written", what)
            return result
        free, retry_at = _free(disk), time.monotonic() + RETRY_SECONDS
        while time.monotonic() < retry_at and not any(map(gt, _free(disk), free)):
            if time.monotonic() - warned >= WARN_SECONDS:
                _LOG.warning("%s", reason)
                warned = time.monotonic()
            heartbeat.paused(reason)
            time.sleep(POLL_SECONDS)


def _free(disk: Path) -> tuple[int, int]:
    """Free blocks and free inodes of a disk; the folder itself may not exist for lack of space."""
    found = os.statvfs(next(folder for folder in (disk, *disk.parents) if folder.exists()))
    return found.f_bavail, found.f_favail
