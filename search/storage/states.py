"""States of searches, and of trials that failed without a state of ``objectives.failures``."""

from typing import Literal

State = Literal["new", "running", "stopped", "finished", "failed", "lost"]
"""Of a search: ``new`` before its first run, ``lost`` when its lease has expired."""

ERROR = "error"
"""A library raised something unexpected."""
HUNG = "hung"
"""Its worker made no progress and was killed."""
WORKER_DIED = "worker_died"
