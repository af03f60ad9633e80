"""``first_token_ms`` and ``token_ms`` beside what a fresh process measures.

For each architecture the script makes an untrained model (times do not depend on weights), and
times it as a search does (``objectives.measurement.timed``). A fresh process, which imports nothing
of tlc, loads the same model, writes texts, and takes the time at each token. With runtime torch it
calls ``generate()`` on what transformers saved, with a streamer; with onnxruntime ONNX Runtime
GenAI on the same file (``pip install onnxruntime-genai``; causal language models).

Both sides take turns of two texts, and the fastest text of each counts: other programs, which slow
one side or the other, do not.

    python benchmarks/decoding.py
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch
from transformers.utils import logging

from objectives.compression.model_file import ModelSpec
from objectives.compression.pipeline import write_compressed
from objectives.measurement.timed import FirstToken, FurtherTokens
from objectives.models.build import build
from objectives.models.decoding import Decoding, of_decoder
from objectives.runtimes.onnx_decoder import PAST, PRESENT, OnnxDecoder
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression
from spaces.cost.workload import Family, Workload

TOKENS, VOCABULARY, START = 64, 8192, 1
TEXTS = 2
"""Of each side in a turn, of which the faster counts; those of the first turn warm up."""
HEADER = (
    "| model | runtime | first token: tlc ms | fresh process ms | ratio | further token: tlc ms "
    "| fresh process ms | ratio |"
)
TIMING = """
import json, sys, time
import numpy as np
folder, given = sys.argv[1], json.loads(sys.argv[2])
def answer(write):
    print("ready", flush=True)
    for line in sys.stdin:
        moments = []
        started = time.perf_counter()
        write(int(line), lambda: moments.append(time.perf_counter()))
        further = np.median(np.diff(moments)) if len(moments) > 1 else 0.0
        print(1e3 * (moments[0] - started), 1e3 * further, flush=True)
"""
BY_GENERATE = """
import torch, transformers
torch.set_num_threads(1)
model = getattr(transformers, given["class"]).from_pretrained(folder).eval()
tokens = torch.tensor(given["tokens"])
inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), **given["options"]}
class Streamer(transformers.generation.streamers.BaseStreamer):
    def __init__(self, note):
        self.note, self.has_prompt = note, False
    def put(self, value):
        # What it gets first is the prompt.
        if self.has_prompt:
            self.note()
        self.has_prompt = True
    def end(self):
        pass
def write(new, note):
    model.generate(**inputs, max_new_tokens=new, min_new_tokens=new, streamer=Streamer(note))
with torch.inference_mode():
    answer(write)
"""
BY_GENAI = """
import onnxruntime_genai
model = onnxruntime_genai.Model(folder)
tokens = np.array(given["tokens"], dtype=np.int32)
def write(new, note):
    search = onnxruntime_genai.GeneratorParams(model)
    length = tokens.shape[1] + new
    search.set_search_options(max_length=length, min_length=length, do_sample=False)
    generator = onnxruntime_genai.Generator(model, search)
    generator.append_tokens(tokens)
    for _ in range(new):
        generator.generate_next_token()
        note()
answer(write)
"""


class Compared:
    """A model that both sides time.

    Args:
        new_tokens: Tokens of a text.
        folder: An empty folder for its files.
    """

    def __init__(
        self, family: Family, depth: int, width: int, new_tokens: int, folder: Path
    ) -> None:
        has_decoder = family.has_decoder
        self.workload = Workload(family, VOCABULARY, TOKENS, target_length=TOKENS * has_decoder)
        self.architecture = Architecture.of(depth, width, decoder_depth=depth * has_decoder)
        torch.manual_seed(0)
        self.folder = folder
        self.model: Any = build(self.architecture.shape, self.workload).eval()
        tokens = torch.randint(5, VOCABULARY, (1, TOKENS if has_decoder else TOKENS // 2))
        inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
        options = of_decoder((START,), 1) if has_decoder else {}
        self.decoding = Decoding(inputs, new_tokens, options)

    def compared(
        self, model: Any, program: str, folder: Path, turns: int
    ) -> npt.NDArray[np.float64]:
        """Milliseconds of tlc and of the fresh process, of the first token and of each further one,
        ``(turns, 2, 2)``.

        Args:
            model: What tlc times.
            program: The fresh process, after ``TIMING``.
            folder: What it loads.
        """
        kinds = (FirstToken(self.decoding), FurtherTokens(self.decoding))
        found = []
        with FreshProcess(program, folder, self._given()) as process, torch.inference_mode():
            first, further = (kind.timer(model) for kind in kinds)
            for _ in range(turns + 1):
                own = [(first(), further()) for _ in range(TEXTS)]
                new = self.decoding.new_tokens
                other = [(process.write(1)[0], process.write(new)[1]) for _ in range(TEXTS)]
                found.append([np.min(own, axis=0), np.min(other, axis=0)])
        return np.array(found[1:])

    def _given(self) -> dict[str, Any]:
        """What the fresh process is told."""
        arguments = self.decoding.arguments(1)
        options = {
            name: value
            for name, value in arguments.items()
            if not isinstance(value, torch.Tensor) and not name.endswith("new_tokens")
        }
        kind = type(self.model).__name__
        return {"tokens": arguments["input_ids"].tolist(), "class": kind, "options": options}

    def saved(self) -> Path:
        """The model as transformers saves it."""
        folder = self.folder / "saved"
        self.model.save_pretrained(folder)
        return folder

    def onnx(self) -> Path:
        """The file of ONNX Runtime, with the configuration that ONNX Runtime GenAI reads."""
        folder = self.folder / "onnx"
        folder.mkdir()
        spec = ModelSpec(self.architecture, self.workload, Compression())
        write_compressed(self.model, spec, [self.decoding.inputs], folder)
        OnnxDecoder().prepare(folder, {}, folder)
        (folder / "genai_config.json").write_text(json.dumps(self._genai()))
        return folder

    def _genai(self) -> dict[str, Any]:
        config = self.model.config
        past, present = (
            {f"{start}_{kind}_names": f"{prefix}.%d.{kind}" for kind in ("key", "value")}
            for start, prefix in (("past", PAST), ("present", PRESENT))
        )
        decoder = {
            "filename": "model.onnx",
            "session_options": {"intra_op_num_threads": 1, "provider_options": []},
            "hidden_size": config.hidden_size,
            "head_size": self.architecture.head_width,
            "num_attention_heads": config.num_attention_heads,
            "num_key_value_heads": config.num_key_value_heads,
            "num_hidden_layers": config.num_hidden_layers,
            "inputs": {"input_ids": "input_ids", "attention_mask": "attention_mask", **past},
            "outputs": {"logits": "logits", **present},
        }
        return {
            "model": {
                "type": "llama", "vocab_size": VOCABULARY, "context_length": TOKENS,
                "bos_token_id": 1, "eos_token_id": [1], "pad_token_id": 0, "decoder": decoder,
            },
            "search": {"max_length": TOKENS, "past_present_share_buffer": False},
        }  # fmt: skip

    def rows(self, turns: int) -> Iterator[tuple[str, npt.NDArray[np.float64]]]:
        """What was compared in each runtime."""
        yield "torch", self.compared(self.model, BY_GENERATE, self.saved(), turns)
        if not self.workload.family.has_decoder and find_spec("onnxruntime_genai"):
            folder = self.onnx()
            opened = OnnxDecoder().open(folder, threads=1)
            yield "onnxruntime", self.compared(opened, BY_GENAI, folder, turns)


class FreshProcess:
    """A process that writes texts, and says how long each took."""

    def __init__(self, program: str, folder: Path, given: dict[str, Any]) -> None:
        command = [sys.executable, "-c", TIMING + program, str(folder), json.dumps(given)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
        )

    def __enter__(self) -> FreshProcess:
        assert self._answer() == "ready"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def write(self, tokens: int) -> list[float]:
        """Milliseconds of the first token, and of each further one, of a text of so many."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{tokens}\n")
        self._process.stdin.flush()
        return [float(each) for each in self._answer().split()]

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def _cells(own: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> str:
    tlc, process = own.min(), other.min()
    return f"| {tlc:.2f} | {process:.2f} | {tlc / process:.2f} "


@click.command()
@click.option("--models", default="llama-1x128 llama-4x256 mbart-1x128 mbart-2x256")
@click.option("--new-tokens", default=16)
@click.option("--turns", default=100)
def main(models: str, new_tokens: int, turns: int) -> None:
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    print(f"fp32, batch 1, one thread, {new_tokens} new tokens\n")
    print(f"{HEADER}\n|{' --- |' * (HEADER.count('|') - 1)}")
    for name in models.split():
        family, _, size = name.rpartition("-")
        depth, width = map(int, size.split("x"))
        with tempfile.TemporaryDirectory() as root:
            compared = Compared(Family(family), depth, width, new_tokens, Path(root))
            for runtime, found in compared.rows(turns):
                cells = "".join(_cells(found[:, 0, kind], found[:, 1, kind]) for kind in (0, 1))
                print(f"| {family} {depth}×{width} | {runtime} {cells}|", flush=True)


if __name__ == "__main__":
    main()
