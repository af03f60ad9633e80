"""Start-up code of every process under test: the event log and the injected faults.

Python imports this module in each process that has its folder in ``PYTHONPATH``: the driver
process, Ray's workers and the service. It patches modules of tlc when they are imported, if
``TLC_EVENT_LOG`` is set.

The event log is an append-only file. The training loop writes a line for each optimiser step. This
module adds ``saved <address>`` when a checkpoint or model is published, ``committed <JSON>`` when
the commit of a trial has returned, and ``did <fault> <pid>`` when a fault was injected.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

EVENT_LOG = "TLC_EVENT_LOG"
FAULTS = "TLC_FAULTS"


def log_event(line: str) -> None:
    """Append a line in one write, so that lines of several processes do not mix."""
    descriptor = os.open(os.environ[EVENT_LOG], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


def happens(fault: str, times: int) -> int | None:
    """Count a fault over all processes; returns how often it occurred before, or None after
    ``times`` occurrences."""
    for number in range(times):
        marker = f"{os.environ[EVENT_LOG]}.{fault}.{number}"
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        log_event(f"did {fault} {os.getpid()}")
        return number
    return None


def after(owner: Any, name: str, do: Callable[..., None]) -> None:
    """Call ``do(result, *arguments)`` after each call of a method or function."""
    original = getattr(owner, name)

    def wrapped(*arguments: Any, **keywords: Any) -> Any:
        result = original(*arguments, **keywords)
        do(result, *arguments, **keywords)
        return result

    setattr(owner, name, wrapped)


def _log_store(module: ModuleType) -> None:
    after(
        module.Store,
        "_commit",
        lambda entry, _self, _folder, address, **_: log_event(f"saved {address}"),
    )


def _log_study(module: ModuleType) -> None:
    def log_commit(is_new: bool, study: Any, number: int, *_: Any, **__: Any) -> None:
        if is_new:
            trial = study.optuna._storage.get_trial(study._trial_id(number))
            record = {"number": number, "state": trial.state.name, **trial.user_attrs}
            record.pop("curve", None)
            log_event(f"committed {json.dumps(record, sort_keys=True)}")

    # A result that is not finite is recorded as a failure, which would be logged twice.
    for name in ("tell_result", "tell_failure"):
        original = getattr(module.Study, name)

        def wrapped(self: Any, *arguments: Any, _original: Any = original, **keywords: Any) -> Any:
            depth = getattr(self, "_telling", 0)
            self._telling = depth + 1
            try:
                is_new = _original(self, *arguments, **keywords)
            finally:
                self._telling = depth
            if depth == 0:
                log_commit(is_new, self, *arguments, **keywords)
            return is_new

        setattr(module.Study, name, wrapped)


def _inject(name: str) -> Callable[[ModuleType], None]:
    """Apply the injected faults to a module."""

    def change(module: ModuleType) -> None:
        import faults

        for fault, settings in json.loads(os.environ.get(FAULTS, "{}")).items():
            if faults.MODULES[fault] == name:
                getattr(faults, fault)(module, **settings)

    return change


_LOGGED = {"objectives.store.store": _log_store, "search.storage.study": _log_study}


class _Loader(importlib.abc.Loader):
    """Loads a module, and then patches it."""

    def __init__(self, loader: Any, changes: list[Callable[[ModuleType], None]]) -> None:
        self._loader = loader
        self._changes = changes

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        created: ModuleType | None = self._loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        for change in self._changes:
            change(module)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules to patch."""

    def __init__(self, changes: dict[str, list[Callable[[ModuleType], None]]]) -> None:
        self._changes = changes

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        changes = self._changes.pop(name, None)
        if changes is None:
            return None
        # Removed first, so that the search does not return here.
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, changes)
        return spec


def _install() -> None:
    changes: dict[str, list[Callable[[ModuleType], None]]] = {
        name: [change] for name, change in _LOGGED.items()
    }
    wanted = json.loads(os.environ.get(FAULTS, "{}"))
    if wanted:
        import faults

        for fault in wanted:
            name = faults.MODULES[fault]
            changes.setdefault(name, []).append(_inject(name))
    sys.meta_path.insert(0, _Finder({name: list(dict.fromkeys(c)) for name, c in changes.items()}))


if os.environ.get(EVENT_LOG):
    _install()
