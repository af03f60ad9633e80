"""What tlc changes in its process, and how a call from Python takes it back.

The command line owns its process. A script or a notebook does not belong to tlc: after
``tlc.run``, its environment variables, levels of loggers, filters of warnings, signal handlers and
hook of exceptions are as before.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

NO_PROXY = ("no_proxy", "NO_PROXY")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
FOREIGN = (
    "RAY_", "TUNE_", "MLFLOW_", "_MLFLOW_", "KMP_", "TORCHINDUCTOR_", "PYTHONBREAKPOINT", *NO_PROXY,
)  # fmt: skip
"""Beginnings of the variables that tlc sets, and that Ray, MLflow, scikit-learn and torch set."""
HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Signals whose handlers Ray replaces: when it starts, and while its trials run."""


class _Changes:
    """The state before the outermost ``restored``, of which several threads may be inside."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.depth = 0
        self.variables: dict[str, str] = {}
        self.levels: dict[str, int] = {}
        self.excepthook = sys.excepthook
        self.filters = warnings.catch_warnings()

    def begin(self) -> None:
        self.variables = _foreign_variables()
        self.levels = {}
        self.excepthook = sys.excepthook
        self.filters = warnings.catch_warnings()
        self.filters.__enter__()

    def undo(self) -> None:
        for name in _foreign_variables():
            if name not in self.variables:
                del os.environ[name]
        os.environ.update(self.variables)
        for name, level in self.levels.items():
            logging.getLogger(name).setLevel(level)
        sys.excepthook = self.excepthook
        self.filters.__exit__(None, None, None)


_changes = _Changes()


@contextmanager
def restored() -> Iterator[None]:
    """Take back, at the end, what the functions below changed inside.

    Calls may be nested and in several threads: the last one that ends restores.
    """
    with _changes.lock:
        if _changes.depth == 0:
            _changes.begin()
        _changes.depth += 1
    try:
        yield
    finally:
        with _changes.lock:
            _changes.depth -= 1
            if _changes.depth == 0:
                _changes.undo()


def set_variables(defaults: Mapping[str, str]) -> None:
    """Set environment variables that are not set."""
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def reach_loopback_directly() -> None:
    """Exempt this machine from the proxies of the environment, also for the processes that are
    started: a proxy elsewhere would ask itself."""
    known = next(filter(None, map(os.environ.get, NO_PROXY)), "")
    listed = [host.strip() for host in known.split(",") if host.strip()]
    if "*" not in listed:
        exempt = ",".join(dict.fromkeys([*listed, *LOOPBACK]))
        os.environ.update(dict.fromkeys(NO_PROXY, exempt))


def set_level(level: int, *names: str) -> None:
    """Set the level of loggers; call it after the import of a package that sets it too."""
    with _changes.lock:
        for name in names:
            logger = logging.getLogger(name)
            if _changes.depth:
                _changes.levels.setdefault(name, logger.level)
            logger.setLevel(level)


@contextmanager
def collection_paused() -> Iterator[None]:
    """Collect no garbage inside, where packages are imported.

    They make a million objects that stay. To examine them takes a fifth of the time of importing
    torch and transformers.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def signals_kept() -> Iterator[None]:
    """Restore the signal handlers of this process, which only the main thread can change."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in HANDLED}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None: it was not installed from Python, and cannot be installed again.
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)


def _foreign_variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(FOREIGN)}
