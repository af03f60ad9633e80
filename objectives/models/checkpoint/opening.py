"""Opening a checkpoint: what makes it unsuited is said before anything is computed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from objectives.data.pretrained_tokenizer import PretrainedTokenizer
from objectives.models.checkpoint.errors import CheckpointError
from objectives.models.checkpoint.location import (
    CONFIG,
    WEIGHT_FILES,
    download,
    find_folder,
    has_weights,
)
from objectives.models.checkpoint.target_start import GENERATION, target_start
from objectives.models.checkpoint.task_heads import HEADS, TaskHead
from spaces.file.model import Model, is_folder, is_package

HASHED = (
    "*.safetensors", "*.safetensors.index.json", CONFIG, "tokenizer*", "vocab.*", "merges.txt",
    "*.model", "special_tokens_map.json", "added_tokens.json", "preprocessor_config.json",
    GENERATION,
)  # fmt: skip
"""Files that determine a model and its tokens."""
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
"""Files of which a tokenizer needs one; without any, transformers makes an empty one."""


@dataclass(frozen=True)
class OpenCheckpoint:
    """A checkpoint that suits its task.

    Args:
        name: As the search file spells it.
        folder: Where its files are.
        head: What its task needs.
    """

    name: str
    folder: Path
    head: TaskHead

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the files that determine its models."""
        digest = hashlib.sha256()
        files = {file for pattern in HASHED for file in self.folder.glob(pattern)}
        for file in sorted(files, key=lambda file: file.name):
            with file.open("rb") as opened:
                content = hashlib.file_digest(opened, "sha256").hexdigest()
            digest.update(f"{file.name} {content}\n".encode())
        return digest.hexdigest()

    @cached_property
    def config(self) -> Any:
        """Its configuration; no code of the checkpoint runs."""
        from transformers import AutoConfig

        fields = _read_config(self.name, self.folder)
        if "auto_map" in fields:
            raise CheckpointError(
                self.name,
                "it needs code of its own repository (auto_map), which is never run; allowed are "
                "models that transformers itself has",
            )
        try:
            with quiet():
                return AutoConfig.from_pretrained(
                    self.folder, trust_remote_code=False, local_files_only=True
                )
        except (ValueError, KeyError, OSError, TypeError, AttributeError) as error:
            raise CheckpointError(
                self.name,
                f"transformers has no model of type {fields.get('model_type')!r}: "
                f"{str(error).splitlines()[0]}",
            ) from error

    @cached_property
    def tokenizer(self) -> PretrainedTokenizer:
        """Its tokenizer."""
        from transformers import AutoTokenizer

        if not any(any(self.folder.glob(pattern)) for pattern in TOKENIZER_FILES):
            raise CheckpointError(self.name, "it has no tokenizer: no tokenizer.json is in it")
        try:
            with quiet():
                loaded = AutoTokenizer.from_pretrained(
                    self.folder, trust_remote_code=False, local_files_only=True, use_fast=True
                )
            definition = loaded.backend_tokenizer.to_str()
        except Exception as error:
            # Readers of many formats, which raise anything.
            raise CheckpointError(
                self.name,
                f"its tokenizer cannot be read: {type(error).__name__}: "
                f"{(str(error).splitlines() or [''])[0]}",
            ) from error
        tokens = {
            "start": loaded.cls_token or loaded.bos_token,
            "pad": loaded.pad_token,
            "end": loaded.sep_token or loaded.eos_token,
            "unknown": loaded.unk_token,
            "mask": loaded.mask_token,
        }
        for name in self.head.needed_tokens:
            if tokens[name] is None:
                raise CheckpointError(
                    self.name, f"its tokenizer has no {name} token, which the task needs"
                )
        config = self.config.get_text_config()
        has_types = (
            "token_type_ids" in loaded.model_input_names
            and getattr(config, "type_vocab_size", 0) > 1
        )
        start: tuple[str, ...] = ()
        if self.head.has_decoder:
            start = target_start(self.name, self.folder, self.config, loaded)
        tokenizer = PretrainedTokenizer(definition, tuple(tokens.values()), has_types, start)
        rows = config.vocab_size
        if max(tokenizer.vocabulary.values()) >= rows:
            raise CheckpointError(
                self.name,
                f"its tokenizer has tokens up to number {max(tokenizer.vocabulary.values()):,}, "
                f"and its embedding {rows:,} rows: they are of different models",
            )
        return tokenizer

    def load(self, classes: int = 0) -> nn.Module:
        """The whole model with the head of its task, in fp32 on the CPU; a classifier's head is new
        where the checkpoint has none for so many classes.

        Raises:
            CheckpointError: Weights are missing, damaged or no numbers.
        """
        check_weights(self.name, self.folder)
        options: dict[str, Any] = {"num_labels": classes} if classes else {}
        try:
            with quiet():
                model, report = self.head.auto_class().from_pretrained(
                    self.folder,
                    use_safetensors=True,
                    trust_remote_code=False,
                    local_files_only=True,
                    output_loading_info=True,
                    ignore_mismatched_sizes=True,
                    dtype=torch.float32,
                    **options,
                )
        except Exception as error:
            # The readers of transformers and safetensors raise anything.
            raise CheckpointError(
                self.name,
                f"its weights cannot be loaded: {type(error).__name__}: "
                f"{(str(error).splitlines() or [''])[0]}",
            ) from error
        lacking = [
            *report["missing_keys"],
            *(key if isinstance(key, str) else key[0] for key in report["mismatched_keys"]),
        ]
        wrong = [name for name in lacking if not _is_of_head(name, model, self.head)]
        if wrong:
            raise CheckpointError(
                self.name,
                f"{len(wrong)} of its weights are missing or not of the shape that {CONFIG} says, "
                f"such as {min(wrong)}",
            )
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name not in lacking and not torch.isfinite(parameter).all():
                    raise CheckpointError(self.name, f"its weight {name} holds no finite numbers")
        parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
        for name, constant in model.state_dict().items():
            if name not in parameters and constant.is_floating_point() and constant.any():
                raise CheckpointError(
                    self.name,
                    f"its {name} is not zero, as that of Marian; it is no weight, and models that "
                    "are cut from it would lose it",
                )
        loaded: nn.Module = model.eval()
        return loaded


def open_checkpoint(model: Model, task: str) -> OpenCheckpoint:
    """Find a checkpoint and check that a task can start from it.

    The weights are checked when they are loaded (``OpenCheckpoint.load``).

    Raises:
        CheckpointError: It is missing, damaged or not suited.
    """
    name = model.name
    opened = OpenCheckpoint(name, find_folder(name, model.revision), HEADS[task])
    config = opened.config
    opened.head.check(name, config, _read_config(name, opened.folder).get("architectures"))
    if opened.head.needed_tokens:
        _ = opened.tokenizer
    if not (is_folder(name) or is_package(name)):
        download(name, model.revision, WEIGHT_FILES)
    check_weights(name, opened.folder)
    return opened


def check_weights(name: str, folder: Path) -> None:
    """Refuse weights that are missing, in another format than safetensors, or cut off.

    Raises:
        CheckpointError: They are.
    """
    from safetensors import SafetensorError, safe_open

    files = sorted(folder.glob("*.safetensors"))
    if not files and has_weights(folder):
        raise CheckpointError(
            name,
            "its weights are in a format that can run code when it is read (pickle); allowed are "
            "*.safetensors files, which model.save_pretrained writes",
        )
    if not files:
        raise CheckpointError(name, "it has no weights: no *.safetensors file is in it")
    for file in files:
        try:
            with safe_open(str(file), framework="pt") as opened:
                opened.keys()
        except (SafetensorError, OSError) as error:
            raise CheckpointError(name, f"{file.name} is damaged: {error}") from error


def _read_config(name: str, folder: Path) -> dict[str, Any]:
    try:
        fields = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            name, f"it has no {CONFIG}, which every checkpoint of transformers has"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(name, f"its {CONFIG} cannot be read: {error}") from error
    if not isinstance(fields, dict) or not isinstance(fields.get("model_type"), str):
        raise CheckpointError(name, f"its {CONFIG} names no model_type")
    return fields


def _is_of_head(name: str, model: Any, head: TaskHead) -> bool:
    """Whether a weight belongs to a head that is trained from random weights."""
    if not head.is_new:
        return False
    is_outside = not name.startswith(f"{model.base_model_prefix}.")
    return is_outside or ".pooler." in name


@contextmanager
def quiet() -> Iterator[None]:
    """transformers without its progress bars and warnings."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
