"""Starts of submitted searches behind a service, which answers before they are done."""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from search.storage.database import FUNCTION
from search.storage.errors import BusyStudy, NoSuchStudy, Overloaded
from search.storage.function_study import load_any
from search.storage.lease import Lease, LeaseMonitor, lease_of
from search.storage.states import FAILED_TO_START, Starting
from search.storage.study import Study
from search.storage.transactions.submissions import Submission, Submissions
from search.submission.local import Launcher
from spaces.errors import UserError
from spaces.loading import validate

THREADS = 8
"""Starts at once; each may wait for a cluster."""
MOST_WAITING = 200
"""Searches that may wait for their start in one service."""
WATCH_SECONDS = 5.0
"""Seconds between two looks at submissions that wait, and at those of other services."""
GOING_ON = ("pending", "running")
"""States of a job or a process that will take the lease of its search."""
ABANDONED_SECONDS = 900.0
"""After which another service starts what one on another machine has not started."""

log = logging.getLogger(__name__)


class Starter:
    """Starts submitted searches, in threads of its own.

    A submission is in the database before ``submit`` returns, and leaves it when its search runs.
    One whose service was killed in between is started by the next service that sees it. To start a
    search twice does no harm: only one process gets its lease, and Ray accepts a job once.

    Args:
        url: SQLAlchemy URL of the studies.
        launcher: Starts the searches.
    """

    def __init__(self, url: str, launcher: Launcher) -> None:
        self._url = url
        self._launcher = launcher
        self._submissions = Submissions(url)
        self._own = Lease(run=uuid.uuid4().hex[:12])
        self._queue: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._pending: set[str] = set()
        """What is in the queue, and what is being started."""

    def begin(self) -> None:
        """Start the threads, which end with the process."""
        for work in (self._watch, *[self._work] * THREADS):
            threading.Thread(target=work, name="starter", daemon=True).start()

    def search(self, name: str) -> dict[str, Any]:
        """The search file of a search, from its study or its submission.

        Raises:
            NoSuchStudy: There is none of this name.
        """
        try:
            return Study.load(name, self._url).search.to_dict()
        except NoSuchStudy:
            if (submission := self._submissions.find(name)) is None:
                raise
            return submission.search

    def submit(self, name: str, search: dict[str, Any]) -> None:
        """Record a search that is then started.

        Args:
            search: Its valid search file.

        Raises:
            BusyStudy: It runs, is being started, or another kind of search has its name.
            Overloaded: Too many searches wait for their start.
        """
        if len(self._pending) >= MOST_WAITING:
            raise Overloaded(f"{MOST_WAITING} searches wait for their start; try again later")
        attributes = self._attributes(name)
        if FUNCTION in attributes:
            raise BusyStudy(
                f"a search named {name!r} exists with a function as its objective; "
                "give this one another name"
            )
        lease, state = lease_of(attributes), LeaseMonitor().state(attributes)
        if lease is not None and state == "running" and not lease.is_orphaned:
            raise BusyStudy(f"search {name!r} is running already")
        new = Submission(search, self._starter(), before=None if lease is None else lease.run)
        old = self._submissions.find(name)
        if old is None:
            is_added = self._submissions.add(name, new)
        elif old.state == FAILED_TO_START or old.is_over(attributes):
            is_added = self._submissions.replace(name, old, new)
        elif old.is_withdrawn:
            raise BusyStudy(f"search {name!r} was stopped, and its start is not over; try again")
        else:
            is_added = False
        if not is_added:
            raise BusyStudy(f"search {name!r} is being started already")
        self._enqueue(name)

    def withdraw(self, name: str) -> bool:
        """Take back a submission; returns whether there was one that waited.

        A start that has begun is stopped when it is done.
        """
        while (old := self._submissions.find(name)) is not None:
            if old.state == FAILED_TO_START or old.is_over(self._attributes(name)):
                return False
            if old.job:
                self._launcher.stop(name)
            if old.job or old.state == "submitted":
                is_done = self._submissions.remove(name, old)
            else:
                is_done = self._submissions.replace(name, old, replace(old, is_withdrawn=True))
            if is_done:
                return True
        return False

    def _enqueue(self, name: str) -> None:
        self._pending.add(name)
        self._queue.put(name)

    def _work(self) -> None:
        while True:
            name = self._queue.get()
            try:
                self._start(name)
            except Exception:
                # The database is unavailable: the submission stays in it, for ``_watch``.
                log.exception("search %r was not started", name)
            finally:
                self._pending.discard(name)

    def _start(self, name: str) -> None:
        submitted = self._submissions.find(name)
        if submitted is None or submitted.state != "submitted" or not self._is_own(submitted):
            return
        starting = replace(submitted, state="starting")
        if not self._submissions.replace(name, submitted, starting):
            return
        job, reason = "", ""
        try:
            job = self._launcher.start(validate(starting.search, origin=name))
        except UserError as error:
            reason = str(error)
        except Exception:
            log.exception("search %r failed to start", name)
            reason = "the service failed; its log has the error"
        if (now := self._submissions.find(name)) is None or self._settle(name, now):
            return
        state: Starting = FAILED_TO_START if reason else "starting"
        self._submissions.replace(name, now, replace(now, state=state, job=job, reason=reason))

    def _watch(self) -> None:
        while True:
            # Whatever fails while the database or the cluster is away is looked at again.
            with suppress(UserError):
                for name, each in self._submissions.all().items():
                    with suppress(UserError):
                        self._look_at(name, each)
            time.sleep(WATCH_SECONDS)

    def _look_at(self, name: str, each: Submission) -> None:
        """Remove a submission whose search runs, and start one that nobody starts."""
        if name in self._pending or not (self._is_own(each) or self._is_abandoned(each)):
            return
        if self._settle(name, each) or each.state == FAILED_TO_START:
            return
        if each.state != "submitted":
            # Where it was never started, or cannot be asked, starting it again tells why.
            with suppress(UserError):
                if (state := self._launcher.status(name)) in GOING_ON:
                    return
                if each.job:
                    reason = f"its {each.job} is {state}; tlc logs {name} has its output"
                    failed = replace(each, state=FAILED_TO_START, reason=reason)
                    self._submissions.replace(name, each, failed)
                    return
        again = replace(each, state="submitted", starter=self._starter())
        if self._submissions.replace(name, each, again):
            self._enqueue(name)

    def _settle(self, name: str, each: Submission) -> bool:
        """Remove a submission that was withdrawn, or whose search has run; returns whether it
        was."""
        if each.is_withdrawn:
            with suppress(BusyStudy, NoSuchStudy):
                self._launcher.stop(name)
        elif not each.is_over(self._attributes(name)):
            return False
        self._submissions.remove(name, each)
        return True

    def _starter(self) -> dict[str, Any]:
        return asdict(replace(self._own, since=datetime.now(UTC).isoformat()))

    def _is_own(self, submission: Submission) -> bool:
        return submission.started_by.run == self._own.run

    def _is_abandoned(self, submission: Submission) -> bool:
        by = submission.started_by
        # In a container, the next service has the process id of the last one.
        if by.host == self._own.host and (by.pid == self._own.pid or by.is_orphaned):
            return True
        age = datetime.now(UTC) - datetime.fromisoformat(by.since)
        return age.total_seconds() > ABANDONED_SECONDS

    def _attributes(self, name: str) -> dict[str, Any]:
        """Attributes of the study of a search; empty where there is none."""
        with suppress(NoSuchStudy):
            return load_any(name, self._url).attributes
        return {}
