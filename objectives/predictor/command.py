"""The command line of an exported model."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path

from .errors import InputError, ModelError
from .loading import load
from .measuring import measure
from .runtimes import RUNTIMES

DESCRIPTION = """Print the output of the exported model in this folder for an input, or its score on
examples, or measure its bytes and its latency on this machine. model.onnx needs the packages
onnxruntime, tokenizers and numpy; model.safetensors needs transformers and torch, and
compressed-tensors where config.json has a quantization_config. Images need pillow too, the score of
translations sacrebleu, that of summaries rouge-score, and spearman scipy."""


def main(folder: Path) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(description=DESCRIPTION)
    parser.add_argument(
        "input", nargs="*", help="a text, two texts of a pair, words to tag, or an image file"
    )
    parser.add_argument("--score", metavar="FILE", type=Path, help="examples, a JSON object a line")
    parser.add_argument("--runtime", choices=list(RUNTIMES), help="default: the first available")
    parser.add_argument(
        "--measure",
        metavar="FILE",
        type=Path,
        help="write measurements for tlc import-measurements",
    )
    parser.add_argument("--machine", default=platform.node(), help="name in the measurements")
    for name, default in (("--threads", 1), ("--batch-size", 1), ("--repeats", 100)):
        parser.add_argument(name, type=_count, default=default, help="of --measure")
    given = parser.parse_args()
    if sum(map(bool, (given.input, given.score, given.measure))) != 1:
        parser.error("give an input, --score FILE, or --measure FILE")
    try:
        if given.measure:
            found = measure(
                folder,
                machine=given.machine,
                runtimes=[given.runtime] if given.runtime else [],
                threads=given.threads,
                batch_size=given.batch_size,
                repeats=given.repeats,
            )
            given.measure.write_text(json.dumps(found, indent=1), encoding="utf-8")
            for each in found["measured"]:
                print(f"{each['runtime']}: {each['size_bytes']:,} bytes, {each['p10_ms']:.3f} ms")
            return 0
        model = load(folder, given.runtime)
        if given.score:
            with given.score.open(encoding="utf-8") as file:
                examples = [json.loads(line) for line in file]
            print(model.task["metric"], repr(model.score(examples)))
            return 0
        one = given.input[0] if len(given.input) == 1 else tuple(given.input)
        (prediction,) = model.predict([one])
    except (InputError, ModelError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{one}{prediction}" if model.task["name"] == "causal-lm" else prediction)
    return 0


def _count(text: str) -> int:
    """A whole number of at least one; argparse reports any other."""
    if (number := int(text)) < 1:
        raise ValueError
    return number
