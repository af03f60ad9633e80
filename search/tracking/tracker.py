"""Keeps MLflow up to date with a study: in a thread while a search runs, or once on demand.

There is no queue. The study is compared with what MLflow has, and the difference is sent; while
MLflow is unreachable, the difference grows.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from search.storage.base_study import BaseStudy
from search.storage.errors import StudyError
from search.storage.function_study import FunctionStudy, load_functions
from search.storage.lease_holder import local_lease, refuse_if_held_elsewhere
from search.storage.removal import has_trials
from search.storage.study import Study, load_all
from search.tracking.client import check_mlflow_version, error_summary
from search.tracking.function_sync import FunctionSync
from search.tracking.remote_state import DeletedInMlflow
from search.tracking.run_sync import LeaseLost
from search.tracking.sync import MlflowSync
from spaces.file.storage import Locations, home

log = logging.getLogger(__name__)

PAUSE, LONGEST_PAUSE = 2.0, 15.0
"""Seconds between two sendings, and the longest pause after errors."""
CLOSING_PAUSE = 0.5
"""Seconds between two tries while the search waits for the last sending."""


class Sync(Protocol):
    """What sends the difference between a study and MLflow."""

    def send(self, *, with_figures: bool, is_running: bool | None = None) -> int:
        """Send everything that MLflow lacks; as ``MlflowSync.send``."""

    def reset(self) -> None:
        """Read MLflow again before the next sending, as after an error."""


class Tracker:
    """Sends a study to MLflow from a thread while its search runs.

    Args:
        sync: What sends it.

    Raises:
        UserError: Another version of MLflow is installed.
    """

    def __init__(self, sync: Sync) -> None:
        check_mlflow_version()
        self._sync = sync
        self._changed = threading.Event()
        self._closing = threading.Event()
        self._given_up = threading.Event()
        self._everything_sent = False
        self._is_away = False
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def notify(self) -> None:
        """Signal that the study has changed; returns at once."""
        self._changed.set()

    def close(self, timeout_s: float) -> bool:
        """Send the rest within ``timeout_s`` seconds; returns whether all was sent."""
        self._closing.set()
        self._changed.set()
        self._thread.join(timeout_s)
        self._given_up.set()
        return self._everything_sent

    def cancel(self) -> None:
        """End the thread without sending anything more."""
        self._given_up.set()
        self._changed.set()

    def _work(self) -> None:
        pause = PAUSE
        while not self._given_up.is_set():
            self._changed.wait()
            if self._given_up.is_set():
                return
            self._changed.clear()
            is_last = self._closing.is_set()
            if self._try_to_send(is_last=is_last):
                pause = PAUSE
                if is_last:
                    self._everything_sent = True
                    return
            else:
                self._changed.set()
                pause = min(2 * pause, LONGEST_PAUSE)
            if is_last:
                self._given_up.wait(CLOSING_PAUSE)
            else:
                self._closing.wait(pause)

    def _try_to_send(self, *, is_last: bool) -> bool:
        try:
            self._sync.send(with_figures=is_last, is_running=not is_last)
        except LeaseLost:
            # The other process sends the rest.
            return True
        except Exception as error:
            # Any error of MLflow or its transport: the study has the data, so it is sent later.
            self._sync.reset()
            if not self._is_away:
                log.warning(
                    "MLflow is not up to date, and is updated later: %s", error_summary(error)
                )
            self._is_away = True
            return False
        self._is_away = False
        return True


@contextmanager
def tracking(study: BaseStudy[Any], sync: Sync, timeout_s: float) -> Iterator[Tracker]:
    """Keep MLflow up to date with a study inside, and send the rest at the end; of a start that
    failed before its first trial, nothing is sent.

    Args:
        timeout_s: Seconds for the rest.
    """
    tracker = Tracker(sync)
    tracker.start()
    try:
        yield tracker
    except BaseException:
        if has_trials(study):
            tracker.close(timeout_s)
        else:
            tracker.cancel()
        raise
    tracker.close(timeout_s)


def sync_study(study: Study | FunctionStudy, where: Locations) -> int:
    """Send everything that MLflow lacks of a search; returns the number of trials sent.

    Raises:
        Exception: Any error of MLflow or its transport.
    """
    sync: Sync
    if isinstance(study, FunctionStudy):
        sync = FunctionSync(study, where)
    else:
        sync = MlflowSync(study, where)
    return sync.send(with_figures=True)


def sync_unless_running(study: Study | FunctionStudy, where: Locations) -> None:
    """Send everything that MLflow lacks of a search, unless the search runs and sends it.

    Raises:
        Exception: Any error of MLflow or its transport.
    """
    with suppress(StudyError), local_lease(study.search.name, home() / "leases"):
        refuse_if_held_elsewhere(study)
        sync_study(study, where)


def sync_all(url: str, where: Locations) -> None:
    """Send everything that MLflow lacks of the searches of a storage that are not running.

    Errors are logged and not raised: the MLflow UI is useful without a search that fails.
    """
    studies: list[Study | FunctionStudy] = [*load_all(url), *load_functions(url)]
    for study in studies:
        try:
            sync_unless_running(study, where)
        except DeletedInMlflow:
            continue
        except Exception as error:
            # Any error of MLflow or its transport.
            log.warning("search %s is not in MLflow: %s", study.search.name, error_summary(error))
