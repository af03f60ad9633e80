"""A trial as the function of the user gets it: values, a seed, a folder, and what trials share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from objectives.store.manifest import checkpoint_address
from objectives.store.store import Store
from spaces.cost.configuration import content_hash
from spaces.functions.points import stage_key

Fill = Callable[[Path], object]
"""Writes files into a new, empty folder."""


@dataclass(frozen=True)
class Checkpoint:
    """Files that ``Trial.checkpoint`` stored.

    Args:
        step: How far the work had come.
        folder: The files, not to be changed.
    """

    step: int
    folder: Path


class Trial(Mapping[str, Any]):
    """One trial of a search with a function.

    ``trial.learning_rate``, ``trial["learning_rate"]`` and ``trial.params["learning_rate"]`` are
    the value of a dimension; ``dict(trial)`` and ``**trial`` are all of them.

    Args:
        number: Its number in the search.
        params: The value of each dimension.
        seed: Seed of the search, for what is random in the trial.
        folder: A folder of its own. What is in it is still there when the trial is continued on
            this machine after its worker or the search died.
        store: Where stages and checkpoints are.
        scope: What their keys belong to: the name of the search and the version of the function.
    """

    def __init__(
        self,
        number: int,
        params: Mapping[str, Any],
        *,
        seed: int,
        folder: Path,
        store: Store,
        scope: tuple[str, str],
    ) -> None:
        self.number = number
        self.params = dict(params)
        self.seed = seed
        self.folder = folder
        self._store = store
        self._scope = scope
        self._stack = ExitStack()
        self.stages: dict[str, float | None] = {}
        """Seconds of each stage that it used; None where it was stored before."""

    def __getitem__(self, name: str) -> Any:
        return self.params[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.params)

    def __len__(self) -> int:
        return len(self.params)

    def __getattr__(self, name: str) -> Any:
        # Not found otherwise; before ``__init__``, there are no values either.
        values = self.__dict__.get("params", {})
        if name in values:
            return values[name]
        raise AttributeError(f"{name}: is not a dimension; they are {', '.join(values)}")

    def stage(self, key: Any, make: Fill) -> Path:
        """The files of some work that trials share: made once, and stored.

        A later trial with the same key, of this or another worker, gets the stored files. The
        search does not see what ``make`` does: the key must name everything that determines it.

        Args:
            key: A text, or anything that JSON can write, such as ``("pretrained", depth)``.
            make: Writes files into the folder that it is called with.

        Returns:
            A folder with the files, not to be changed; it is there until the trial ends.
        """
        name = stage_key(key)
        path = self._path("stage", name)
        address = checkpoint_address(path, 0)
        took: float | None = None
        found = self._open(address)
        if found is None:
            with self._store.lock(path):
                # Another worker may have made it in the meantime.
                while (found := self._open(address)) is None:
                    started = time.monotonic()
                    self._store.write(address, _flat(make, name), is_final=True)
                    took = time.monotonic() - started
        self.stages.setdefault(name, took)
        return found

    def checkpoint(self, key: Any, step: int, write: Fill) -> None:
        """Store how far some work has come, from which it resumes after a kill.

        Args:
            key: Of the work, as of ``stage``. It may be shared: training at a constant learning
                rate to 4,000 steps contains that to 1,000.
            step: How far it has come; a later one replaces none.
            write: Writes files into the folder that it is called with.
        """
        name = stage_key(key)
        address = checkpoint_address(self._path("checkpoint", name), step)
        self._store.write(address, _flat(write, name), is_final=False)

    def latest_checkpoint(self, key: Any, *, up_to: int | None = None) -> Checkpoint | None:
        """The latest checkpoint of some work; None where there is none.

        Args:
            key: As of ``checkpoint``.
            up_to: The last step that is of use.
        """
        path = self._path("checkpoint", stage_key(key))
        for step in reversed(self._store.checkpoint_steps(path)):
            if up_to is not None and step > up_to:
                continue
            folder = self._open(checkpoint_address(path, step))
            if folder is not None:
                return Checkpoint(step, folder)
        return None

    def close(self) -> None:
        """Let go of the folders of stages and checkpoints."""
        self._stack.close()

    def _open(self, address: str) -> Path | None:
        return self._stack.enter_context(self._store.open(address))

    def _path(self, kind: str, key: str) -> str:
        return content_hash({"function": self._scope, "kind": kind, "key": key})


def _flat(fill: Fill, key: str) -> Callable[[Path], None]:
    """The same; a subfolder, which the store does not keep, is refused."""

    def checked(folder: Path) -> None:
        fill(folder)
        for path in folder.iterdir():
            if not path.is_file():
                raise ValueError(f"{key}: {path.name} is no file; the store keeps files alone")

    return checked
