"""States of searches, and of trials that failed without a state of ``objectives.failures``."""

from typing import Literal

State = Literal["new", "running", "stopped", "finished", "failed", "lost"]
"""Of a search: ``new`` before its first run, ``lost`` when its lease has expired."""

Starting = Literal["submitted", "starting", "failed to start"]
"""Of a search that was submitted to a service, before it runs."""
SearchState = State | Starting
ACTIVE = ("submitted", "starting", "new", "running")
"""States of a search that goes on, or will."""
FAILED_TO_START: Literal["failed to start"] = "failed to start"

ERROR = "error"
"""A library raised something unexpected."""
HUNG = "hung"
"""Its worker made no progress and was killed."""
OUTDATED = "outdated"
"""It was refused as too slow, and is not by a reference model that was faster later."""
NODE_LOST = "node_lost"
"""Its node was lost or pre-empted."""
WORKER_DIED = "worker_died"
"""Its process was killed or crashed."""
