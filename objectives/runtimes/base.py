"""What a runtime does: it writes a stored model as its own file, and runs that file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from objectives.data.batches import Batch

Forward = Callable[[dict[str, Any]], Any]
"""From int64 and float32 arrays by name to logits, a float32 array."""


class Runtime(Protocol):
    """A runtime."""

    def prepare(self, stored: Path, inputs: Batch, folder: Path) -> None:
        """Write the file of a stored model into a folder.

        Args:
            stored: Its folder, as ``model_file.save`` writes it.
            inputs: Arguments of its forward pass, two or more of a batch.

        Raises:
            UserError: The runtime cannot run it.
        """
        ...

    def open(self, folder: Path, *, threads: int) -> Forward:
        """Load what ``prepare`` wrote into a folder."""
        ...

    def bytes_on_disk(self, folder: Path) -> int:
        """Bytes of what ``prepare`` wrote into a folder."""
        ...
