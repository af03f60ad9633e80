"""The right to change a search as a whole: no process runs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from search.storage.errors import BusyStudy
from search.storage.function_study import FunctionStudy
from search.storage.lease import confirmed_state
from search.storage.lease_holder import local_lease
from search.storage.study import Study
from spaces.file.storage import home


@contextmanager
def not_running(study: Study | FunctionStudy) -> Iterator[None]:
    """Lock a search against processes of this machine that would run it.

    Raises:
        BusyStudy: It is running, here or elsewhere.
    """
    with local_lease(study.name, home() / "leases"):
        if confirmed_state(study) == "running":
            raise BusyStudy(f"search {study.name!r} is running; tlc stop {study.name} stops it")
        yield
