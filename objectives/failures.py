"""How a trial can fail: with a named state, and never with a wrong result."""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Mapping
from typing import Any

OUT_OF_MEMORY = "oom"
LAST_CALLS = 6
LONGEST_MESSAGE = 500
LONGEST_TRACEBACK = 6000
"""Characters of a traceback that the record keeps."""
_OUT_OF_MEMORY_MESSAGES = (
    "DefaultCPUAllocator",
    "Cannot allocate memory",
    "bad_alloc",
    "out of memory",
    # oneDNN, when it gets no memory for its kernels or their scratch space.
    "could not create a primitive",
)


class TrialFailure(Exception):
    """One trial cannot give a result; the search continues.

    Args:
        state: Short name of the failure, such as ``diverged``; it is recorded with the trial.
        message: What was observed.
        traceback: Where an error inside tlc or a library arose; empty where the model is at fault.
        latency: Of a model that is too slow, what was measured: ``MeasuredTimes`` by name, and the
            name of the ``cost``.
    """

    def __init__(
        self,
        state: str,
        message: str,
        traceback: str = "",
        latency: Mapping[str, Any] | None = None,
    ) -> None:
        self.state = state
        self.message = message
        self.traceback = traceback
        self.latency = latency
        super().__init__(state, message, traceback, latency)

    def __str__(self) -> str:
        return f"{self.state}: {self.message}"


class WorkerGroupLost(Exception):
    """Workers cannot train together any more: one has died, or is stuck within a step."""


def short_traceback(error: BaseException) -> str:
    """The last calls of an error and of each of its causes; where it is long, its end."""
    text = "".join(traceback.format_exception(error, limit=-LAST_CALLS)).strip()
    return text if len(text) <= LONGEST_TRACEBACK else f"[…]{text[-LONGEST_TRACEBACK:]}"


def error_with_place(error: BaseException) -> str:
    """An error of a user's code in a line: its class, message and place."""
    text = " ".join(f"{type(error).__name__}: {error}".split())[:LONGEST_MESSAGE]
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return text
    last = next((f for f in reversed(frames) if not _is_of_library(f.filename)), frames[-1])
    return f"{text} ({last.filename}, line {last.lineno}, in {last.name})"


def _is_of_library(file: str) -> bool:
    return "site-packages" in file or file.startswith(("<", sys.base_prefix))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on a GPU or on the machine.

    On CPU, torch and its libraries raise RuntimeErrors that only their messages distinguish.
    """
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    # A process that has not imported torch, such as the driver, has none of its errors.
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    message = str(error)
    return isinstance(error, RuntimeError) and any(m in message for m in _OUT_OF_MEMORY_MESSAGES)
