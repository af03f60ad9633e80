"""Names that columns and splits usually have."""

from __future__ import annotations

LABELS = (
    "label", "labels", "class", "category", "sentiment", "target", "intent", "topic", "emotion",
    "stance", "genre", "gold_label", "y", "rating", "stars", "score", "coarse_label", "fine_label",
    "is_spam", "toxic", "polarity", "language", "similarity", "similarity_score", "price",
)  # fmt: skip
"""Of what is to be predicted, the likeliest first."""
TEXTS = (
    "text", "sentence", "review", "content", "body", "comment", "message", "tweet", "document",
    "article", "description", "question", "utterance", "query", "headline", "title", "abstract",
)  # fmt: skip
PAIRS = (
    ("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"),
    ("question", "sentence"), ("text1", "text2"), ("text_a", "text_b"), ("query", "passage"),
    ("sentence_a", "sentence_b"), ("s1", "s2"), ("question", "context"),
)  # fmt: skip
"""Of two texts that belong together."""
SUMMARIES = (
    ("document", "summary"), ("article", "highlights"), ("article", "summary"),
    ("text", "summary"), ("dialogue", "summary"), ("article", "abstract"), ("text", "headlines"),
)  # fmt: skip
"""Of a document, and its summary."""
TARGETS = (("source", "target"), ("src", "tgt"), ("input", "output"), ("question", "answer"))
"""Of a text to read, and one to write."""
WORDS = ("tokens", "words")
TAGS = ("ner_tags", "tags", "labels", "ner", "pos_tags", "chunk_tags", "pos", "upos")
GROUPS = (
    "group", "author", "author_id", "user", "user_id", "username", "speaker", "speaker_id",
    "document_id", "doc_id", "patient_id", "subject_id", "session_id", "conversation_id",
    "thread_id", "product_id", "movie_id",
)  # fmt: skip
"""Of rows that depend on each other."""
IDENTIFIERS = ("id", "idx", "index", "uid", "guid", "pairid", "pair_id", "unnamed: 0", "")
LANGUAGES = frozenset({
    "ar", "bg", "bn", "ca", "cs", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "he", "hi",
    "hr", "hu", "id", "it", "ja", "ko", "lt", "lv", "nl", "no", "pl", "pt", "ro", "ru", "sk", "sl",
    "sr", "sv", "th", "tr", "uk", "vi", "zh",
})  # fmt: skip
"""Codes of languages (ISO 639-1)."""
ALL_NAMES = frozenset({
    *LABELS, *TEXTS, *WORDS, *TAGS, *GROUPS, *IDENTIFIERS[:-1], *LANGUAGES,
    *(name for pair in (*PAIRS, *SUMMARIES, *TARGETS) for name in pair),
})  # fmt: skip

SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "development", "eval"),
    "test": ("test", "testing", "heldout"),
}
"""Of the files and folders of each split."""
