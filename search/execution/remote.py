"""Functions of ``trainable`` as Ray tasks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from search.execution.cluster import task_options
from spaces.cost.configuration import Configuration
from spaces.file.resources import Placement

T = TypeVar("T")


class RemoteFunctions:
    """Calls functions that take the search file as JSON, the folder of the data, and a list.

    Args:
        search: The search file as JSON, with absolute locations.
        data: Folder of the prepared data.
        resources: What a task occupies.
    """

    def __init__(self, search: str, data: Path, resources: Placement) -> None:
        self.search = search
        self.data = str(data)
        self._options = task_options(resources)

    def submit(self, function: Callable[[str, str, list[Any]], list[Any]], items: list[Any]) -> Any:
        """Start a task; returns Ray's reference to its result."""
        import ray

        return ray.remote(**self._options)(function).remote(self.search, self.data, items)

    def over_configurations(
        self, function: Callable[[str, str, list[dict[str, Any]]], list[T]]
    ) -> Callable[[list[Configuration]], list[T]]:
        """A function of configurations that runs one task and waits for it."""

        def call(configurations: list[Configuration]) -> list[T]:
            import ray

            points = [configuration.to_dict() for configuration in configurations]
            result: list[T] = ray.get(self.submit(function, points))
            return result

        return call
