"""What turns inputs into arrays, in the files that ``AutoTokenizer`` and ``AutoImageProcessor`` of
transformers load, with the same ids and pixels as in training."""

from __future__ import annotations

import json
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from objectives.data.encoding import PAD, SPECIAL_TOKENS, load_tokenizer
from objectives.export.prediction_task import PredictionTask

TOKENIZER = "tokenizer.json"
IMAGE_PROCESSOR = "preprocessor_config.json"


def write_tokenizer(trained: Path, task: PredictionTask, folder: Path) -> None:
    """Write ``tokenizer.json``, with the special tokens, truncation and padding of the task, and
    ``tokenizer_config.json``.

    Args:
        trained: The file of the tokenizer of the prepared data, which does not truncate.
    """
    tokenizer = load_tokenizer(trained)
    # Those of a checkpoint have the same numbers and names of their own.
    start, pad, end, unknown, mask = map(tokenizer.id_to_token, range(len(SPECIAL_TOKENS)))
    reads_prompts = task.name == "causal-lm"
    if reads_prompts:
        # Windows of running text begin without a special token.
        tokenizer.post_processor = None
    types = ["token_type_ids"] if task.has_token_types else []
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=start,
        cls_token=start,
        eos_token=end,
        sep_token=end,
        pad_token=pad,
        unk_token=unknown,
        mask_token=mask,
        model_max_length=task.sequence_length,
        # The end of a prompt is what is continued.
        truncation_side="left" if reads_prompts else "right",
        model_input_names=["input_ids", *types, "attention_mask"],
        clean_up_tokenization_spaces=False,
        # What fills masks must find them in the text.
        split_special_tokens=task.name != "masked-lm",
    ).save_pretrained(folder)
    if not reads_prompts:
        tokenizer.enable_truncation(task.sequence_length)
        tokenizer.enable_padding(pad_id=PAD, pad_token=pad)
        tokenizer.save(str(folder / TOKENIZER))


def write_image_processor(task: PredictionTask, folder: Path) -> None:
    """Write ``preprocessor_config.json``; grey models need grey images, which it does not make."""
    (folder / IMAGE_PROCESSOR).write_text(json.dumps(task.image_processor, indent=1))
