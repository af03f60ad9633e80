"""Eager torch: the packed file, whose weight-only codes are unpacked to fp32 when it is loaded."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from objectives.compression import model_file
from objectives.data.batches import Batch
from objectives.runtimes.base import Forward


class TorchRuntime:
    """As ``Runtime``."""

    def prepare(self, stored: Path, inputs: Batch, folder: Path) -> None:
        """As ``Runtime``."""
        for name in (model_file.WEIGHTS, model_file.CONFIG):
            shutil.copyfile(stored / name, folder / name)

    def open(self, folder: Path, *, threads: int) -> Forward:
        """As ``Runtime``."""
        model = model_file.load(folder)

        def forward(**inputs: torch.Tensor) -> Any:
            with torch.inference_mode():
                return model(**inputs).logits

        return forward

    def bytes_on_disk(self, folder: Path) -> int:
        """As ``Runtime``."""
        return model_file.bytes_on_disk(folder)
