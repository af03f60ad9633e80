"""States of trials that failed without an evaluation's own state (``objectives.failures``)."""

ERROR = "error"
"""A library raised something unexpected."""
HUNG = "hung"
"""Its worker made no progress and was killed."""
WORKER_DIED = "worker_died"
