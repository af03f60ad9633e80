"""MLflow as a view of the study: written by one thread of the driver, and made again at any time.

Nothing is queued. The thread compares what the study holds with what it has sent and sends the
difference; when MLflow is away, the difference grows and is sent when it is back.
"""

from __future__ import annotations

import logging
import threading
import time

from search.mirror import Mirror
from search.study import Study, load_all
from spaces.places import Places

log = logging.getLogger(__name__)

FIRST_WAIT, LONGEST_WAIT = 0.5, 15.0


class Tracker:
    """Mirrors a study to MLflow while a search runs.

    Args:
        study: The record.
        where: The tracking URI and the artefacts' folder.
    """

    def __init__(self, study: Study, where: Places) -> None:
        self._mirror = Mirror(study, where)
        self._changed = threading.Event()
        self._closing = threading.Event()
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
        return self._everything_sent

    def _work(self) -> None:
        wait = FIRST_WAIT
        while True:
            self._changed.wait()
            self._changed.clear()
            is_last = self._closing.is_set()
            if self._try_to_send(is_last=is_last):
                wait = FIRST_WAIT
                if is_last:
                    self._everything_sent = True
                    return
            else:
                self._changed.set()
                wait = min(2 * wait, LONGEST_WAIT)
            # Closing cuts a long wait short, and then a short one keeps the loop from spinning.
            if is_last or self._closing.wait(wait):
                time.sleep(FIRST_WAIT)

    def _try_to_send(self, *, is_last: bool) -> bool:
        try:
            self._mirror.send(with_figures=is_last)
        except Exception as error:
            # Anything that MLflow or its transport raises: the study has it, so it can wait.
            if not self._is_away:
                log.warning("MLflow is away, what it misses is sent later: %s", _short(error))
            self._is_away = True
            return False
        self._is_away = False
        return True


def mirror_all(url: str, where: Places) -> None:
    """Send everything that MLflow misses of every search of a storage."""
    for study in load_all(url):
        Mirror(study, where).send(with_figures=True)


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
