"""What a runtime does: it writes a stored model as its own file, and runs that file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from objectives.data.batches import Batch

Forward = Callable[..., Any]
"""A forward pass: from its arguments, tensors by name, to logits, an array or a tensor."""


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
        """Load what ``prepare`` wrote into a folder.

        Args:
            threads: CPU threads; of torch they are those of the process.
        """
        ...

    def bytes_on_disk(self, folder: Path) -> int:
        """Bytes of what ``prepare`` wrote into a folder."""
        ...
