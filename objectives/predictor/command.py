"""The command line of an exported model."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from .errors import InputError, ModelError
from .loading import load
from .runtimes import RUNTIMES

DESCRIPTION = """Print the output of the exported model in this folder for an input, or its score on
examples. model.onnx needs the packages onnxruntime, tokenizers and numpy; model.safetensors needs
transformers and torch, and compressed-tensors where config.json has a quantization_config. Images
need pillow too, the score of translations sacrebleu, that of summaries rouge-score, and spearman
scipy."""


def main(folder: Path) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(description=DESCRIPTION)
    parser.add_argument(
        "input", nargs="*", help="a text, two texts of a pair, words to tag, or an image file"
    )
    parser.add_argument("--score", metavar="FILE", type=Path, help="examples, a JSON object a line")
    parser.add_argument("--runtime", choices=list(RUNTIMES), help="default: the first available")
    given = parser.parse_args()
    if bool(given.input) == bool(given.score):
        parser.error("give an input, or --score FILE")
    try:
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
