"""Tiny checkpoints of transformers, made with transformers alone."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

SPECIAL = ("[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]")
DEPTH, WIDTH, HEADS, NEURONS, POSITIONS = 4, 32, 4, 64, 40
SIZES = {
    "hidden_size": WIDTH,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS,
    "intermediate_size": NEURONS,
}

DECODER_DEPTH = 3
TRANSLATOR = {
    "d_model": WIDTH,
    "encoder_layers": DEPTH,
    "decoder_layers": DEPTH,
    "encoder_attention_heads": HEADS,
    "decoder_attention_heads": HEADS,
    "encoder_ffn_dim": NEURONS,
    "decoder_ffn_dim": NEURONS,
    "max_position_embeddings": POSITIONS,
}


def texts_of(corpus: Path) -> list[str]:
    """The training texts of the fixture ``corpus``."""
    return [line.split("\t")[0] for line in (corpus / "train.tsv").read_text().splitlines()]


def sentences_of(translations: Path) -> list[str]:
    """The training sentences of both languages of the fixture ``translations``."""
    files = [translations / f"train.{side}.gz" for side in ("source", "target")]
    return [
        line for file in files for line in gzip.decompress(file.read_bytes()).decode().split("\n")
    ]


def tokenizer_for(kind: str, texts: list[str], size: int = 300) -> Any:
    """A tokenizer of transformers, trained on texts: ``WordPiece``, ``BPE`` (of bytes) or
    ``Unigram``."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    options: dict[str, Any] = {"special_tokens": list(SPECIAL), "show_progress": False}
    if kind == "WordPiece":
        made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        made.normalizer = normalizers.BertNormalizer()
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=size, **options)
    elif kind == "BPE":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, **options)
    else:
        made = Tokenizer(models.Unigram())
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=size, unk_token="[UNK]", **options)
    made.train_from_iterator(texts, trainer)
    unknown, pad, start, end, mask = SPECIAL
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token=pad, unk_token=unknown, cls_token=start, sep_token=end,
        mask_token=mask,
    )  # fmt: skip


def bert(**options: Any) -> Any:
    """A BERT without a head."""
    from transformers import BertConfig, BertModel

    return BertModel(
        BertConfig(pad_token_id=1, max_position_embeddings=POSITIONS, **{**SIZES, **options})
    )  # fmt: skip


def roberta(**options: Any) -> Any:
    """A RoBERTa for masked language modelling."""
    from transformers import RobertaConfig, RobertaForMaskedLM

    return RobertaForMaskedLM(
        RobertaConfig(
            max_position_embeddings=POSITIONS, pad_token_id=1, type_vocab_size=1,
            **{**SIZES, **options},
        )
    )  # fmt: skip


def modernbert(**options: Any) -> Any:
    """A ModernBERT for masked language modelling, with layers of two kinds of attention."""
    from transformers import ModernBertConfig, ModernBertForMaskedLM

    return ModernBertForMaskedLM(
        ModernBertConfig(
            **SIZES, max_position_embeddings=POSITIONS, local_attention=8,
            pad_token_id=1, cls_token_id=2, sep_token_id=3, bos_token_id=2, eos_token_id=3,
            **options,
        )
    )  # fmt: skip


def llama(**options: Any) -> Any:
    """A Llama of two key-value heads, without a head."""
    from transformers import LlamaModel

    return LlamaModel(_llama_config(**options))


def llama_lm(**options: Any) -> Any:
    """The same with the head of a language model."""
    from transformers import LlamaForCausalLM

    return LlamaForCausalLM(_llama_config(**options))


def _llama_config(**options: Any) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        **SIZES, num_key_value_heads=2, max_position_embeddings=POSITIONS,
        pad_token_id=1, bos_token_id=2, eos_token_id=3, **options,
    )  # fmt: skip


def vit(**options: Any) -> Any:
    """A Vision Transformer for pictures of 8 × 8, without a head."""
    from transformers import ViTConfig, ViTModel

    return ViTModel(
        ViTConfig(
            **SIZES, image_size=8, patch_size=2, **options,
        )
    )  # fmt: skip


def bart(vocab_size: int, **options: Any) -> Any:
    """A BART, whose layers normalise behind their blocks."""
    from transformers import BartConfig, BartForConditionalGeneration

    return BartForConditionalGeneration(
        BartConfig(
            vocab_size=vocab_size, **TRANSLATOR, pad_token_id=1, bos_token_id=2, eos_token_id=3,
            decoder_start_token_id=3, forced_eos_token_id=None, **options,
        )
    )  # fmt: skip


def mbart(vocab_size: int, **options: Any) -> Any:
    """An MBart, whose layers normalise before their blocks, with fewer of them in the decoder."""
    from transformers import MBartConfig, MBartForConditionalGeneration

    sizes = {**TRANSLATOR, "decoder_layers": DECODER_DEPTH, **options}
    return MBartForConditionalGeneration(
        MBartConfig(
            vocab_size=vocab_size, **sizes, decoder_start_token_id=2, forced_eos_token_id=None,
            scale_embedding=True,
        )
    )  # fmt: skip


CLASSIFIERS = {"bert": bert, "roberta": roberta, "modernbert": modernbert, "llama": llama}
"""Kinds that classifiers start from."""
_MODELS = {**CLASSIFIERS, "llama_lm": llama_lm}


def save_images_checkpoint(folder: Path, channels: int = 1, **processor: Any) -> Path:
    """Write a tiny Vision Transformer with random weights, and its image processor."""
    import torch

    torch.manual_seed(0)
    vit(num_channels=channels).save_pretrained(folder)
    fields = {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": 8, "width": 8},
        "image_mean": [0.5] * channels,
        "image_std": [0.5] * channels,
        **processor,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(fields))
    return folder


def save_checkpoint(folder: Path, kind: str, texts: list[str], **options: Any) -> Path:
    """Write a tiny checkpoint with random weights and a tokenizer."""
    import torch

    is_bert = kind == "bert"
    tokenizer = tokenizer_for("WordPiece" if is_bert else "BPE", texts, 300 if is_bert else 420)
    torch.manual_seed(0)
    _MODELS[kind](vocab_size=len(tokenizer), **options).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


TRANSLATORS = {"bart": bart, "mbart": mbart}
"""Kinds that translators start from."""


def languages_tokenizer(texts: list[str], **languages: str) -> Any:
    """The tokenizer of mBART-50, in which the token of a language stands before each text."""
    from transformers import MBart50Tokenizer

    trained = json.loads(tokenizer_for("Unigram", texts, 120).backend_tokenizer.to_str())
    pieces = [each for each in trained["model"]["vocab"] if each[0] not in SPECIAL]
    unused = [[f"▁{number}", -20.0] for number in range(300)]
    # The first three are replaced by its special tokens.
    return MBart50Tokenizer(vocab=[["", 0.0]] * 3 + pieces + unused, **languages)


def save_translator(folder: Path, kind: str, texts: list[str], **options: Any) -> Path:
    """Write a tiny encoder-decoder with random weights and a tokenizer; that of an MBart knows
    languages, and translates from English into French."""
    import torch

    if kind == "mbart":
        tokenizer = languages_tokenizer(texts, src_lang="en_XX", tgt_lang="fr_XX")
    else:
        tokenizer = tokenizer_for("BPE", texts, 420)
    torch.manual_seed(0)
    model = TRANSLATORS[kind](len(tokenizer), init_std=0.3, **options)
    first = tokenizer.convert_tokens_to_ids("fr_XX") if kind == "mbart" else 2
    model.generation_config.forced_bos_token_id = first
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


TASKS = {
    **dict.fromkeys(CLASSIFIERS, "classification"),
    **dict.fromkeys(("llama_lm", "tied llama_lm"), "causal-lm"),
    **dict.fromkeys(TRANSLATORS, "translation"),
    "vit": "image-classification",
}
"""The task of each kind of checkpoint."""


def save_kind(folder: Path, kind: str, corpus: Path, translations: Path) -> Path:
    """Write a tiny checkpoint of any kind.

    Args:
        corpus: The fixture of this name.
        translations: The fixture of this name.
    """
    if kind == "vit":
        return save_images_checkpoint(folder)
    if kind in TRANSLATORS:
        return save_translator(folder, kind, sentences_of(translations))
    *tied, name = kind.split()
    options = {"tie_word_embeddings": True} if tied else {}
    return save_checkpoint(folder, name, texts_of(corpus), **options)
