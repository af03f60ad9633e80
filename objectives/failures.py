"""How a trial can fail: a named state, never a wrong number."""

from __future__ import annotations

import errno
import sys

OUT_OF_MEMORY = "oom"
_WORDS_FOR_IT = (
    "DefaultCPUAllocator",
    "Cannot allocate memory",
    "bad_alloc",
    "out of memory",
    # oneDNN's, when it is refused memory for its code or its scratch.
    "could not create a primitive",
)


class TrialFailure(Exception):
    """One trial cannot give a result; the search goes on.

    Args:
        state: Short name of what happened, such as ``diverged``; it is recorded with the trial.
        message: What was seen.
    """

    def __init__(self, state: str, message: str) -> None:
        self.state = state
        self.message = message
        super().__init__(state, message)

    def __str__(self) -> str:
        return f"{self.state}: {self.message}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, of a GPU or of the machine.

    On a CPU torch has no class for it, and its libraries have words of their own.
    """
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    # Whoever has not imported torch, such as a driver, has no error of its to look at.
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _WORDS_FOR_IT)
