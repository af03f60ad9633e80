"""``first_token_ms`` and ``token_ms`` beside ``model.generate()`` of a fresh process.

For each architecture the script makes an untrained model (times do not depend on weights), lets tlc
measure it as a search does, and saves it as transformers does. A fresh process, which imports
nothing of tlc, loads that folder and times ``generate()``: for one token, and for all, whose
difference is the time of the further ones. Both sides take their turns several times, and each
counts at its fastest (10th percentile of a turn), because a shared machine is slow by turns.

    python benchmarks/decoding.py --turns 5
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from objectives.compression import model_file
from objectives.measurement.latency import measure_latency
from objectives.measurement.latency_cache import store_reference
from objectives.measurement.timed import FirstToken, FurtherTokens, Timed
from objectives.models.build import build
from objectives.models.decoding import Decoding, of_decoder
from spaces.cost.architecture import Architecture
from spaces.cost.workload import Family, Workload

TOKENS, VOCABULARY, START = 64, 8192, 1
CALLS = 40
HEADER = (
    "| model | beams | first token: tlc ms | generate() ms | ratio | further token: tlc ms "
    "| generate() ms | ratio |"
)
INDEPENDENT = """
import json, sys, time, numpy, torch, transformers
folder, kind, given = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
torch.set_num_threads(1)
model = getattr(transformers, kind).from_pretrained(folder).eval()
tokens = torch.tensor(given["tokens"])
inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), **given["options"]}
def low(new, calls):
    times = []
    for number in range(calls + 5):
        started = time.perf_counter()
        written = model.generate(**inputs, max_new_tokens=new, min_new_tokens=new)
        times.append((time.perf_counter() - started) * 1e3)
    return float(numpy.percentile(times[5:], 10))
with torch.inference_mode():
    one, every = low(1, given["calls"]), low(given["new"], given["calls"])
print(json.dumps([one, (every - one) / (given["new"] - 1)]))
"""


class Compared:
    """A model that both sides time.

    Args:
        new_tokens: Tokens of a text.
        folder: An empty folder for its files.
    """

    def __init__(
        self, family: Family, depth: int, width: int, beams: int, new_tokens: int, folder: Path
    ) -> None:
        has_decoder = family.has_decoder
        workload = Workload(family, VOCABULARY, TOKENS, target_length=TOKENS * has_decoder)
        architecture = Architecture.of(depth, width, decoder_depth=depth * has_decoder)
        torch.manual_seed(0)
        self.folder = folder
        self.model: Any = build(architecture.shape, workload).eval()
        self.model.save_pretrained(folder / "saved")
        prompt = TOKENS if has_decoder else TOKENS // 2
        tokens = torch.randint(5, VOCABULARY, (1, prompt))
        inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
        options = of_decoder((START,), beams) if has_decoder else {}
        self.decoding = Decoding(inputs, new_tokens, options)
        store_reference(workload, folder / "reference")
        self.reference = model_file.load(folder / "reference")
        self.reference_inputs = {"input_ids": tokens}
        if has_decoder:
            self.reference_inputs["decoder_input_ids"] = tokens

    def by_tlc(self) -> list[float]:
        """Milliseconds of the first token and of each further one, as a search measures them."""
        return [self._low(FirstToken(self.decoding)), self._low(FurtherTokens(self.decoding))]

    def _low(self, timed: Timed) -> float:
        latency = measure_latency(
            self.model,
            self.reference,
            self.reference_inputs,
            sequence_length=TOKENS,
            threads=1,
            repeats=timed.repeats(CALLS),
            timer_of=timed.timer,
        )
        return latency.p10_ms

    def by_generate(self) -> list[float]:
        """The same of a fresh process."""
        arguments = self.decoding.arguments(1)
        given = {
            "tokens": arguments.pop("input_ids").tolist(),
            "calls": CALLS,
            "new": self.decoding.new_tokens,
            "options": {
                name: value
                for name, value in arguments.items()
                if not isinstance(value, torch.Tensor) and not name.endswith("new_tokens")
            },
        }
        kind = type(self.model).__name__
        command = [sys.executable, "-c", INDEPENDENT, str(self.folder / "saved"), kind]
        done = subprocess.run(
            [*command, json.dumps(given)], capture_output=True, text=True, check=True
        )
        found: list[float] = json.loads(done.stdout)
        return found


@click.command()
@click.option("--models", default="llama-1x128 llama-4x256 mbart-1x128 mbart-2x256")
@click.option("--beams", default="1", help="Of models with a decoder.")
@click.option("--new-tokens", default=16)
@click.option("--turns", default=5)
def main(models: str, beams: str, new_tokens: int, turns: int) -> None:
    torch.set_num_threads(1)
    print(f"fp32, batch 1, one thread, {new_tokens} new tokens\n")
    print(f"{HEADER}\n|{' --- |' * (HEADER.count('|') - 1)}")
    for name in models.split():
        family, _, size = name.rpartition("-")
        depth, width = map(int, size.split("x"))
        for count in map(int, beams.split(",")) if Family(family).has_decoder else (1,):
            with tempfile.TemporaryDirectory() as root:
                compared = Compared(Family(family), depth, width, count, new_tokens, Path(root))
                own, others = [], []
                for _ in range(turns):
                    others.append(compared.by_generate())
                    own.append(compared.by_tlc())
            cells = "".join(
                f"| {tlc:.2f} | {generate:.2f} | {tlc / generate:.2f} "
                for tlc, generate in zip(np.min(own, 0), np.min(others, 0), strict=True)
            )
            print(f"| {family} {depth}×{width} | {count} {cells}|", flush=True)


if __name__ == "__main__":
    main()
