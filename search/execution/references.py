"""The references of a search: fitted and scored once, before its first trial."""

from __future__ import annotations

import time
import traceback

from search.execution.listener import Listener
from search.execution.trainable import RemoteFunctions, references
from search.storage.states import ERROR
from search.storage.study import Study

SPLITS = ["validation", "test"]
"""Nothing is chosen by the score of a reference, so both are read at once."""


def measure_references(study: Study, remote: RemoteFunctions, listener: Listener) -> None:
    """Fit and score the references of the task, and record them; a second call does nothing.

    A failure is a warning: trials do not need them, and the next run tries again.
    """
    import ray

    if study.has_references:
        return
    started = time.monotonic()
    listener.info("fitting references …")
    try:
        measured = ray.get(remote.submit(references, SPLITS))
    except ray.exceptions.RayError:
        measured = [{"state": ERROR, "message": traceback.format_exc(limit=1)}]
    if measured and measured[0].get("state") == ERROR:
        last = measured[0]["message"].strip().splitlines()[-1]
        listener.warn(f"there are no references; the same command tries again: {last}")
        return
    study.set_references(measured)
    if measured:
        listener.info(f"{_summary(study)} ({time.monotonic() - started:.1f} s)")


def _summary(study: Study) -> str:
    """The score and the size of each reference, in a line."""
    metric = study.search.metric
    return "references: " + "; ".join(
        f"{r.name} {metric.name} {metric.text(r.result['score'])}, {r.size_mb:.3g} MB"
        for r in study.references()
    )
