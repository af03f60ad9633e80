"""Which failures of a trial are retried, and how often.

- The worker lives and reports an error or lack of memory: it retries the trial once
  (``search.execution.trainable``).
- The worker dies, or the watchdog kills it because it hangs: another worker continues the trial
  (``search.execution.searcher``).
- The driver process dies: the next run takes over its trials (``Study.take_over_unfinished``).

Every retry continues from the last checkpoint. Any other failure, such as a diverged loss, is the
result of the trial.
"""

from __future__ import annotations

from objectives.failures import OUT_OF_MEMORY
from search.storage.states import ERROR

RETRIED_STATES = (ERROR, OUT_OF_MEMORY)
"""States of an attempt that the same worker retries once."""


def retries_after_death(*, on_cluster: bool) -> int:
    """How often another worker continues a trial whose worker died; machines of a cluster fail."""
    return 4 if on_cluster else 1
