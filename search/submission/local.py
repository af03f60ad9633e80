"""Searches that run in the background of this machine, and the interface of all launchers."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import yaml

from search.storage.database import study_names
from search.storage.errors import BusyStudy
from search.storage.function_study import load_any
from search.storage.lease import (
    LEASE,
    RUN,
    LeaseMonitor,
    announce,
    confirmed_state,
    hand_over,
    lease_of,
    request_stop,
)
from search.storage.lease_holder import local_lease
from search.storage.study import Study
from spaces.errors import UserError
from spaces.file.search_file import SearchFile
from spaces.file.storage import Locations, home
from spaces.loading import is_opened

POLL_SECONDS = 0.5
EXIT_SECONDS = 5.0
"""Seconds in which a process exits after it has released its lease."""
LARGEST_TAIL = 1_000_000
"""Bytes of a log that are read from its end."""


class LaunchError(UserError):
    """A search cannot be started, followed or stopped."""


class Launcher(Protocol):
    """Where searches run: processes of this machine, or jobs of a Ray cluster."""

    def check(self, search: SearchFile) -> None:
        """Refuse a search that cannot run there, as far as its file tells.

        Raises:
            UserError: With each such field.
        """

    def start(self, search: SearchFile) -> str:
        """Start or resume a search; returns when it is started, with the name of its job.

        Raises:
            UserError: It cannot run there, or is running already.
        """

    def can_start(self) -> bool:
        """Whether searches can be started there now, as far as is known within a second."""

    def stop(self, name: str) -> None:
        """Stop a search as Ctrl-C does; finished trials are kept.

        Raises:
            UserError: It is not running there.
        """

    def status(self, name: str) -> str:
        """The state of a search in a word: ``running``, ``stopped``, ``failed``, …

        Raises:
            UserError: It was never started there.
        """

    def logs(self, name: str, *, follow: bool) -> Iterator[str]:
        """What a search printed, in pieces; with ``follow`` until it ends.

        Raises:
            UserError: It was never started there.
        """


class LocalProcesses:
    """Searches as processes of this machine that outlive the process that starts them.

    Args:
        study_url: SQLAlchemy URL of the studies, where searches are found by name.
    """

    def __init__(self, study_url: str) -> None:
        self._study_url = study_url

    def check(self, search: SearchFile) -> None:
        """Every search can."""

    def start(self, search: SearchFile) -> str:
        """Start the search in a process of its own."""
        # The default follows the home, also where that is moved later.
        if Locations.of(search.storage).study_url != self._study_url and not search.storage.study:
            storage = search.storage.model_copy(update={"study": self._study_url})
            search = search.model_copy(update={"storage": storage})
        where = Locations.of(search.storage)
        url = where.study_url
        if not is_opened(search):
            # The interface of launchers needs none of it.
            from objectives.completion import completed

            search, _ = completed(search, where.data)
        # Errors are raised here, not written to a log, and before the study records the file.
        is_known = search.name in study_names(url)
        before = _entry_to_replace(Study.load(search.name, url)) if is_known else None
        file = home() / "searches" / f"{search.name}.yaml"
        with _appending(_log(search.name)) as output:
            study = Study.open_as_recorded(search, url)
            run = announce(study, before)
            _replace(file, yaml.safe_dump(search.to_dict(), sort_keys=False, allow_unicode=True))
            process = subprocess.Popen(
                # -P: a user's search.py in the current folder must not hide this package.
                [sys.executable, "-P", "-m", "search.cli", "run", str(file)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, RUN: run, "TLC_TOKEN": "", "TLC_READ_TOKEN": ""},
            )
            hand_over(study, run, process.pid)
        return f"process {process.pid}"

    def can_start(self) -> bool:
        """Processes can always be started."""
        return True

    def stop(self, name: str) -> None:
        """Request the stop through the study."""
        request_stop(load_any(name, self._study_url))

    def status(self, name: str) -> str:
        """The state in the study."""
        return confirmed_state(load_any(name, self._study_url))

    def logs(self, name: str, *, follow: bool) -> Iterator[str]:
        """The log file."""
        log = _log(name)
        if not log.is_file():
            raise LaunchError(
                f"search {name!r} was not submitted on this machine; tlc run prints to its terminal"
            )
        study, monitor = Study.load(name, self._study_url), LeaseMonitor()
        with log.open("r", encoding="utf-8", errors="replace") as file:
            file.seek(max(0, log.stat().st_size - LARGEST_TAIL))
            while True:
                # Before reading, so that the last lines are read as well.
                state = monitor.state(study.attributes)
                is_over = not follow or state not in (None, "new", "running")
                text = file.read()
                if text:
                    yield text
                if is_over:
                    return
                time.sleep(POLL_SECONDS)


def _entry_to_replace(study: Study) -> Any | None:
    """The study's lease entry, whose holder is not running.

    Raises:
        BusyStudy: It is running.
    """
    deadline = time.monotonic() + EXIT_SECONDS
    while True:
        attributes = study.attributes
        is_running = confirmed_state(study) == "running"
        try:
            with local_lease(study.search.name, home() / "leases"):
                break
        except BusyStudy:
            # A process releases the lease a moment before it exits.
            if is_running or time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)
    lease = lease_of(attributes)
    # A process of this machine that does not hold the lock is starting, or was killed.
    if is_running and lease is not None and not lease.is_orphaned:
        raise BusyStudy(f"search {study.search.name!r} is running already, on {lease.host}")
    return attributes.get(LEASE)


def _replace(path: Path, text: str) -> None:
    """Write a file atomically; a link is replaced, not followed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Temporary files are private: the URL of a study may contain a password.
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        file.write(text)
    os.replace(file.name, path)


def _appending(path: Path) -> BinaryIO:
    """Open a file to append to it.

    Raises:
        LaunchError: It is a link, or cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    try:
        return os.fdopen(os.open(path, flags, 0o600), "ab")
    except OSError as error:
        raise LaunchError(f"the log {path} cannot be written: {error.strerror}") from error


def _log(name: str) -> Path:
    return home() / "logs" / f"{name}.log"
