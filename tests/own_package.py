"""A user's package outside of the repository, with a task and a model of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TASK = '''"""Which symbol a sequence begins with."""

import numpy as np
import tlc

from PACKAGE.reader import Reader, ReaderConfig


class FirstSymbol(tlc.Task):
    symbols: int = 3
    length: int = 8

    def data(self):
        rng = np.random.default_rng(0)
        splits = {}
        for split, rows in {"train": 128, "validation": 64, "test": 64}.items():
            tokens = rng.integers(0, self.symbols, (rows, self.length))
            splits[split] = {"input_ids": tokens, "labels": tokens[:, 0]}
        return splits

    def model(self, architecture):
        return Reader(
            ReaderConfig(
                symbols=self.symbols,
                length=self.length,
                width=architecture.width,
                depth=architecture.depth,
                heads=architecture.heads,
                neurons=architecture.feed_forward,
            )
        )
'''

READER = '''"""A Transformer that is none of transformers' own."""

import torch
from torch import nn
from torch.nn import functional
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class ReaderConfig(PretrainedConfig):
    model_type = "PACKAGE"

    def __init__(self, symbols=3, length=8, width=32, depth=1, heads=1, neurons=128, **rest):
        self.symbols, self.length, self.width = symbols, length, width
        self.depth, self.heads, self.neurons = depth, heads, neurons
        super().__init__(**rest)


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        width = config.width
        self.head_width = width // config.heads
        self.norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.output = nn.Linear(width, width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, config.neurons), nn.Linear(config.neurons, width)

    def forward(self, hidden_states):
        normal = self.norm(hidden_states)
        query, key, value = (
            each(normal).unflatten(-1, (-1, self.head_width)).transpose(1, 2)
            for each in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        hidden_states = hidden_states + self.output(mixed.transpose(1, 2).flatten(2))
        return hidden_states + self.down(functional.gelu(self.up(self.second_norm(hidden_states))))


class Reader(PreTrainedModel):
    config_class = ReaderConfig

    def __init__(self, config):
        super().__init__(config)
        self.symbols = nn.Embedding(config.symbols, config.width)
        self.places = nn.Embedding(config.length, config.width)
        self.layers = nn.ModuleList([Layer(config) for _ in range(config.depth)])
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, config.symbols)
        self.post_init()

    def get_input_embeddings(self):
        return self.symbols

    def forward(self, input_ids):
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        states = self.symbols(input_ids) + self.places(places)
        for layer in self.layers:
            states = layer(states)
        return SequenceClassifierOutput(logits=self.head(self.norm(states)[:, 0]))
'''


def write_package(folder: Path, name: str, *changes: tuple[str, str]) -> None:
    """Write a package ``name`` with the modules ``tasks`` (``FirstSymbol``) and ``reader``.

    Args:
        changes: Texts of these modules, each with what replaces it.
    """
    package = folder / name
    package.mkdir(exist_ok=True)
    (package / "__init__.py").touch()
    modules = {"tasks": TASK, "reader": READER}
    for old, new in changes:
        assert any(old in text for text in modules.values()), old
        modules = {module: text.replace(old, new) for module, text in modules.items()}
    for module, text in modules.items():
        (package / f"{module}.py").write_text(text.replace("PACKAGE", name))


def own_document(name: str, **task: Any) -> dict[str, Any]:
    """A search file of the task of a package."""
    return {
        "name": name,
        "task": {"name": f"{name}.tasks:FirstSymbol", **task},
        "space": {
            "depth": {"low": 1, "high": 2},
            "width": {"choices": [32, 64]},
            "budget": {"unit": "steps", "choices": [20, 40]},
            "quantisation": {"choices": ["none", "rtn-8", "rtn-4"]},
            "sparsity": {"choices": [0.0, 0.5]},
        },
        "training": {"batch_size": 16},
        "measurement": {"repeats": 10},
        "sampler": "tpe",
        "trials": 4,
    }
