"""MLflow as a view of the study: written by one thread of the driver, and made again at any time.

Nothing is queued. The thread compares what the study holds with what it has sent and sends the
difference; when MLflow is away, the difference grows and is sent when it is back.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress

from search.storage.errors import StudyError
from search.storage.lease_holder import local_lease, refuse_if_held_elsewhere
from search.storage.study import Study, load_all
from search.tracking.client import error_summary
from search.tracking.remote_state import DeletedInMlflow
from search.tracking.sync import LeaseLost, MlflowSync
from spaces.file.storage import Locations, home

log = logging.getLogger(__name__)

PAUSE, LONGEST_PAUSE = 2.0, 15.0
"""Seconds between two readings of the study, and at most between two tries."""
LAST_TRIES = 0.5
"""Seconds between two tries while the search waits for the last of them."""


class Tracker:
    """Mirrors a study to MLflow while a search runs.

    Args:
        study: The record.
        where: The tracking URI and the artefacts' folder.
        has_lost_lease: Whether another process drives the search now, and mirrors it.
    """

    def __init__(
        self, study: Study, where: Locations, has_lost_lease: Callable[[], bool] = lambda: False
    ) -> None:
        self._mirror = MlflowSync(study, where, has_lost_lease)
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
        """Tell that the study has changed; returns at once."""
        self._changed.set()

    def close(self, timeout_s: float) -> bool:
        """Send what is left, for at most ``timeout_s`` seconds; tells whether all was sent."""
        self._closing.set()
        self._changed.set()
        self._thread.join(timeout_s)
        self._given_up.set()
        return self._everything_sent

    def _work(self) -> None:
        pause = PAUSE
        while not self._given_up.is_set():
            self._changed.wait()
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
                self._given_up.wait(LAST_TRIES)
            else:
                self._closing.wait(pause)

    def _try_to_send(self, *, is_last: bool) -> bool:
        try:
            self._mirror.send(with_figures=is_last, is_running=not is_last)
        except LeaseLost:
            # What is left is the other's to send.
            return True
        except Exception as error:
            # Anything that MLflow or its transport raises: the study has it, so it can wait.
            self._mirror.reset()
            if not self._is_away:
                log.warning("MLflow lacks something, which is sent later: %s", error_summary(error))
            self._is_away = True
            return False
        self._is_away = False
        return True


def sync_study(study: Study, where: Locations) -> int:
    """Send everything that MLflow misses of a search; returns the number of trials sent.

    Raises:
        Exception: Whatever MLflow raises when it is away.
    """
    return MlflowSync(study, where).send(with_figures=True)


def sync_unless_running(study: Study, where: Locations) -> None:
    """Send everything that MLflow misses of a search, unless it is running and sends its own.

    Raises:
        Exception: Whatever MLflow raises when it is away.
    """
    with suppress(StudyError), local_lease(study.search.name, home() / "leases"):
        refuse_if_held_elsewhere(study)
        sync_study(study, where)


def sync_all(url: str, where: Locations) -> None:
    """Send everything that MLflow misses of every search of a storage, but for those that run and
    send their own.

    What cannot be sent is told and left out: the UI is of use without it.
    """
    for study in load_all(url):
        try:
            sync_unless_running(study, where)
        except DeletedInMlflow:
            continue
        except Exception as error:
            # Anything that MLflow or its transport raises.
            log.warning("search %s is not in MLflow: %s", study.search.name, error_summary(error))
