"""Which failures of a trial are retried, and how often (``resources.retries``).

- The worker lives and reports an error or lack of memory: it retries the trial
  (``search.execution.trainable``).
- The worker dies, or the watchdog kills it because it hangs: another worker continues the trial
  (``search.execution.searcher``).
- The driver process dies: the next run takes over its trials (``Study.take_over_unfinished``).

Every retry continues from the last checkpoint. Any other failure, such as a diverged loss, is the
result of the trial.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from objectives.failures import LONGEST_TRACEBACK, OUT_OF_MEMORY
from objectives.store.manifest import parse_checkpoint_address
from search.storage.states import ERROR, NODE_LOST, WORKER_DIED
from spaces.file.resources import Retries

RETRIED_STATES = (ERROR, OUT_OF_MEMORY)
"""States of an attempt that the same worker retries."""

KERNEL_COUNTERS = ("/sys/fs/cgroup/memory.events", "/proc/vmstat")
"""Files with a line ``oom_kill N``: of this container, else of this machine."""
FATAL = "Fatal Python error: "
"""What Python writes into the log of a process that a signal such as SIGSEGV ends."""
EXIT = "Worker exit detail: "
"""What Ray writes before how a process ended; after ``UNKNOWN_EXIT``, it guesses."""
UNKNOWN_EXIT = "connection error"
LOW_ON_MEMORY = "low on memory. "
"""What stands in the text of Ray's ``OutOfMemoryError`` before how much memory was used."""
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
INSPECTION_SECONDS = 15.0
"""Longest time to ask a node what is left of a process."""


@dataclass(frozen=True)
class Death:
    """How the worker of a trial died.

    Args:
        state: Of the trial, if it is not continued.
        stored: Address of the last new entry of the store; empty where it stored nothing.
    """

    state: str
    message: str
    traceback: str = ""
    stored: str = ""

    @property
    def outcome(self) -> dict[str, Any]:
        """The outcome of a trial that is not continued."""
        message = f"{self.message}; not retried"
        return {"state": self.state, "message": message, "traceback": self.traceback}


class Deaths:
    """Counts the deaths of the workers of trials since the trials last made progress."""

    def __init__(self, retries: Retries) -> None:
        self._retries = retries
        self._counts: defaultdict[int, Counter[str]] = defaultdict(Counter)
        self._reached: dict[tuple[int, str], int] = {}
        """The last stored step, by trial and path."""

    def may_continue(self, number: int, death: Death) -> bool:
        """Count a death; returns whether the trial is to be continued."""
        if self._is_progress(number, death.stored):
            self._counts.pop(number, None)
        counts = self._counts[number]
        counts[death.state] += 1
        return counts[death.state] <= int(getattr(self._retries, death.state))

    def _is_progress(self, number: int, stored: str) -> bool:
        if not stored:
            return False
        # A checkpoint that the quota removed is trained and stored again.
        path, step = parse_checkpoint_address(stored) or (stored, 0)
        if step <= self._reached.get((number, path), -1):
            return False
        self._reached[number, path] = step
        return True


@dataclass(frozen=True)
class Place:
    """Where a worker runs, as its heartbeats say.

    Args:
        host: Address of its node.
        node: Ray's id of its node.
        log: File of its standard error; empty where it has none.
        kernel_kills: Of that machine, when the worker started.
    """

    host: str
    node: str
    log: str
    kernel_kills: int

    @classmethod
    def here(cls) -> Place:
        """The place of this process, a worker of Ray."""
        import ray

        node = ray.get_runtime_context().get_node_id()
        log = Path("/proc/self/fd/2")
        path = str(log.readlink()) if log.exists() else ""
        return cls(ray.util.get_node_ip_address(), node, path, kernel_kills())


def kernel_kills() -> int:
    """Processes of this machine, or container, that the kernel killed for lack of memory."""
    for file in filter(Path.exists, map(Path, KERNEL_COUNTERS)):
        found = re.search(r"^oom_kill (\d+)$", file.read_text(), re.MULTILINE)
        if found:
            return int(found[1])
    return 0


def traces(log: str) -> tuple[int, str]:
    """What a process left on this machine: ``kernel_kills``, and the end of its log from a fatal
    error of Python on."""
    try:
        _, fatal, stack = Path(log).read_text(errors="replace").rpartition(FATAL)
    except OSError:
        return kernel_kills(), ""
    return kernel_kills(), fatal and f"{fatal}{stack}"[:LONGEST_TRACEBACK].strip()


def death_of(error: Exception | None, text: str, place: Place | None) -> Death:
    """How a worker died, by what Ray says and what its process left.

    Args:
        error: What Ray raised for its task; None where it is only known as text.
        text: The same, as Tune writes it into a file.
        place: Where it ran; None where it sent no heartbeat.
    """
    from ray.exceptions import ActorDiedError, ActorUnavailableError, RayActorError, RayTaskError

    host = place.host if place else "unknown"
    if isinstance(error, RayActorError) and error.preempted:
        return Death(NODE_LOST, f"its node {host} was pre-empted")
    if isinstance(error, ActorUnavailableError) or (place and not _is_alive(place.node)):
        return Death(NODE_LOST, f"its node {host} was lost")
    if isinstance(error, RayTaskError) or (isinstance(error, RayActorError) and _never_ran(error)):
        return _outside_the_objective(error)
    if isinstance(error, ActorDiedError):
        return _crash(str(error), place)
    # Tune keeps no other error but its text.
    lines = [line.strip() for line in text.splitlines() if not line.startswith("Failure #")]
    reason = next(filter(None, lines), "Ray gave no reason")
    if LOW_ON_MEMORY in reason:
        usage = reason.rpartition(LOW_ON_MEMORY)[2]
        return Death(OUT_OF_MEMORY, f"killed by Ray for lack of memory: {usage}")
    return Death(WORKER_DIED, f"its process died: {reason}", "\n".join(lines)[:LONGEST_TRACEBACK])


def _never_ran(error: Any) -> bool:
    return bool(error.actor_init_failed)


def _is_alive(node: str) -> bool:
    import ray

    return any(each["NodeID"] == node and each["Alive"] for each in ray.nodes())


def _outside_the_objective(error: Exception) -> Death:
    """An error that the objective did not report: its worker could not load or run it."""
    from objectives.failures import WorkerGroupLost

    text = COLOUR.sub("", str(error)).strip()
    cause = getattr(error, "cause", None)
    if isinstance(cause, WorkerGroupLost):
        return Death(NODE_LOST, f"a worker of its model was lost: {cause}")
    return Death(ERROR, text.splitlines()[-1].strip(), text[-LONGEST_TRACEBACK:])


def _crash(text: str, place: Place | None) -> Death:
    detail = text.rpartition(EXIT)[2].strip() if EXIT in text else text.splitlines()[-1].strip()
    if UNKNOWN_EXIT not in detail:
        return Death(WORKER_DIED, f"its process died: {detail}")
    kills, fatal = (0, "") if place is None else _inspected(place)
    if place is not None and kills > place.kernel_kills:
        return Death(OUT_OF_MEMORY, "killed by the kernel for lack of memory")
    if fatal:
        reason = fatal.splitlines()[0].removeprefix(FATAL)
        return Death(WORKER_DIED, f"its process crashed: {reason}", fatal)
    return Death(WORKER_DIED, "its process was killed, and left no trace of why")


def _inspected(place: Place) -> tuple[int, str]:
    """What a process left, asked on its node, which may be busy or lost in the meantime."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    if place.node == ray.get_runtime_context().get_node_id():
        return traces(place.log)
    strategy = NodeAffinitySchedulingStrategy(place.node, soft=False)
    task = ray.remote(num_cpus=0, scheduling_strategy=strategy)(traces)
    try:
        found: tuple[int, str] = ray.get(task.remote(place.log), timeout=INSPECTION_SECONDS)
    except ray.exceptions.RayError:
        return 0, ""
    return found
