"""Starting a search somewhere else than in this terminal, and following it there."""

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

POLL_SECONDS = 0.5
LEAVING_SECONDS = 5.0
"""Seconds that a driver has between the word that it has ended and its end."""
LARGEST_TAIL = 1_000_000
"""Bytes of a log that are read of what was written before."""


class LaunchError(UserError):
    """A search that cannot be started, followed or stopped where it was asked for."""


class Launcher(Protocol):
    """Where searches run: processes of this machine, or jobs of a Ray cluster."""

    def start(self, search: SearchFile) -> str:
        """Start a search, or go on with it; returns at once, with the name of its job.

        Raises:
            UserError: It cannot run there, or runs already.
        """
        ...

    def stop(self, name: str) -> None:
        """Stop a search as Ctrl-C does; what is finished is kept.

        Raises:
            UserError: It is not running there.
        """
        ...

    def status(self, name: str) -> str:
        """What the place says of a search, in a word: ``running``, ``stopped``, ``failed``, …

        Raises:
            UserError: It was never started there.
        """
        ...

    def logs(self, name: str, *, follow: bool) -> Iterator[str]:
        """What a search printed, in pieces; with ``follow`` until it ends.

        Raises:
            UserError: It was never started there.
        """
        ...


class LocalProcesses:
    """Searches as processes of this machine that outlive whoever started them.

    Args:
        study_url: SQLAlchemy URL of the studies, by which searches are found by name.
    """

    def __init__(self, study_url: str) -> None:
        self._study_url = study_url

    def start(self, search: SearchFile) -> str:
        """Start the search in a process of its own."""
        if search.storage.study is None:
            storage = search.storage.model_copy(update={"study": self._study_url})
            search = search.model_copy(update={"storage": storage})
        url = Locations.of(search.storage).study_url
        # What is refused is refused here, and not in a log; before the study takes the file over.
        before = None
        if search.name in study_names(url):
            before = _entry_to_replace(Study.load(search.name, url))
        file, log = _file(search.name), _log(search.name)
        with _appending(log) as output:
            study = Study.open(search, url)
            run = announce(study, before)
            _replace(file, yaml.safe_dump(search.to_dict(), sort_keys=False, allow_unicode=True))
            process = subprocess.Popen(
                # -P: a user's search.py in the current folder must not hide this package.
                [sys.executable, "-P", "-m", "search.cli", "run", str(file)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, RUN: run, "TLC_TOKEN": ""},
            )
            hand_over(study, run, process.pid)
        return f"process {process.pid}"

    def stop(self, name: str) -> None:
        """Ask the search's process, through the study, to stop."""
        request_stop(Study.load(name, self._study_url))

    def status(self, name: str) -> str:
        """The state that the study has."""
        return confirmed_state(Study.load(name, self._study_url))

    def logs(self, name: str, *, follow: bool) -> Iterator[str]:
        """The log file."""
        log = _log(name)
        if not log.is_file():
            raise LaunchError(
                f"search {name!r} was not submitted on this machine; tlc run prints to its terminal"
            )
        study, watch = Study.load(name, self._study_url), LeaseMonitor()
        with log.open("r", errors="replace") as file:
            file.seek(max(0, log.stat().st_size - LARGEST_TAIL))
            while True:
                # Asked for before reading: what is written until then is still read.
                is_over = not follow or not _goes_on(study, watch)
                text = file.read()
                if text:
                    yield text
                if is_over:
                    return
                time.sleep(POLL_SECONDS)


def _entry_to_replace(study: Study) -> Any | None:
    """What the study says of its last driver, which is not running.

    Raises:
        BusyStudy: It is running.
    """
    deadline = time.monotonic() + LEAVING_SECONDS
    while True:
        attributes = study.attributes
        is_running = confirmed_state(study) == "running"
        try:
            with local_lease(study.search.name, home() / "leases"):
                break
        except BusyStudy:
            # A driver says that it has ended a moment before its process has.
            if is_running or time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)
    last = lease_of(attributes)
    # One of this machine without its lock is starting, or was killed.
    if is_running and last is not None and not last.is_orphaned:
        raise BusyStudy(f"search {study.search.name!r} is running already, on {last.host}")
    return attributes.get(LEASE)


def _goes_on(study: Study, watch: LeaseMonitor) -> bool:
    return watch.state(study.attributes) in (None, "new", "running")


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all, in the place of a link and not where it leads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Its mode lets nobody else read it: the URL of a study may hold a password.
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write(text)
    os.replace(file.name, path)


def _appending(path: Path) -> BinaryIO:
    """Open a file to append to it.

    Raises:
        LaunchError: It is a link, which may lead anywhere, or cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    try:
        return os.fdopen(os.open(path, flags, 0o600), "ab")
    except OSError as error:
        raise LaunchError(f"the log {path} cannot be written: {error.strerror}") from error


def _file(name: str) -> Path:
    return home() / "searches" / f"{name}.yaml"


def _log(name: str) -> Path:
    return home() / "logs" / f"{name}.log"
