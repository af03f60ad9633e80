"""The architecture of a model, and the dimensions that pruning leaves of its layers."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

DEFAULT_HEAD_WIDTH = 32
DEFAULT_FEED_FORWARD_RATIO = 4
FEED_FORWARD_MULTIPLE = 32


class Activation(StrEnum):
    """Activations of the feed-forward block, named as in transformers."""

    GELU = "gelu"
    GELU_TANH = "gelu_pytorch_tanh"
    RELU = "relu"
    RELU_SQUARED = "relu2"
    SILU = "silu"
    MISH = "mish"
    HARD_SWISH = "hardswish"


@dataclass(frozen=True, slots=True)
class Shape:
    """Dimensions of the layers of a model, before or after pruning.

    Args:
        depth: Layers of the encoder, or of the only stack.
        decoder_depth: Layers of the decoder; 0 where there is none.
        width: Hidden size.
        heads: Attention heads per layer.
        feed_forward: Feed-forward neurons per layer.
        vocabulary: Pieces that are kept of a checkpoint's vocabulary; 0 keeps all.
        activation: Of the feed-forward block, of its gate where it has one, as transformers names
            it; empty for that of the family.
        tied_embeddings: Whether the token embedding gives the logits too, where both are there.
    """

    depth: int
    decoder_depth: int
    width: int
    heads: int
    head_width: int
    feed_forward: int
    vocabulary: int = 0
    activation: str = ""
    tied_embeddings: bool = True

    @property
    def attention(self) -> int:
        """Channels of all heads of a layer together."""
        return self.heads * self.head_width


@dataclass(frozen=True, slots=True, order=True)
class Architecture:
    """One Transformer before compression; its fields are those of its ``Shape``.

    Of a checkpoint, it is what is kept before training; ``width`` then counts the channels of the
    heads of a layer, while the hidden size stays (``spaces.cost.checkpoint``). ``head_group`` heads
    share a key and a value, and are removed together.

    Raises:
        ValueError: A number is not positive, or ``heads`` does not divide ``width``.
    """

    depth: int
    width: int
    heads: int
    feed_forward: int
    decoder_depth: int = 0
    vocabulary: int = 0
    head_group: int = 1
    activation: str = ""
    tied_embeddings: bool = True

    def __post_init__(self) -> None:
        for name in ("depth", "width", "heads", "feed_forward", "decoder_depth", "vocabulary"):
            least = 0 if name in ("decoder_depth", "vocabulary") else 1
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {self.width}")

    @property
    def checkpoint(self) -> str:
        """Which of the several checkpoints of a search it is cut from; empty otherwise."""
        return ""

    def of_checkpoint(self, name: str) -> Architecture:
        """The same, cut from one of several checkpoints; an empty name stands for none."""
        own = {each.name: getattr(self, each.name) for each in fields(Architecture)}
        return CheckpointArchitecture(**own, checkpoint=name) if name else Architecture(**own)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can write; without ``activation`` and ``tied_embeddings`` where
        they are as usual."""
        usual = {"activation": "", "tied_embeddings": True}
        return {k: value for k, value in asdict(self).items() if usual.get(k) != value}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Architecture:
        """Inverse of ``to_dict``."""
        return (CheckpointArchitecture if "checkpoint" in values else Architecture)(**values)

    def is_at_least(self, other: Architecture) -> bool:
        """Whether it is as large as another of its kind in every dimension."""
        kind, sizes = (self.checkpoint, self.activation, self.tied_embeddings), _sizes(self)
        if kind != (other.checkpoint, other.activation, other.tied_embeddings):
            return False
        return all(one >= least for one, least in zip(sizes, _sizes(other), strict=True))

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads

    @property
    def feed_forward_ratio(self) -> float:
        """Feed-forward width as a multiple of the width."""
        return self.feed_forward / self.width

    @classmethod
    def of(
        cls,
        depth: int,
        width: int,
        *,
        heads: int | None = None,
        head_width: int | None = None,
        feed_forward: int | None = None,
        feed_forward_ratio: float | None = None,
        decoder_depth: int = 0,
        activation: str = "",
        tied_embeddings: bool = True,
    ) -> Architecture:
        """Make an architecture with the usual proportions.

        Args:
            heads: Attention heads of a layer.
            head_width: Channels of a head, in place of ``heads``.
            feed_forward_ratio: Feed-forward width as a multiple of ``width``, in place of
                ``feed_forward``.

        By default there is one head per 32 of width, and the feed-forward block is four times the
        width, as in Vaswani et al. 2017 (arXiv 1706.03762), section 3.3.

        Raises:
            ValueError: The width is not divisible, or the multiple is no whole number.
        """
        if head_width is not None:
            if width % head_width:
                raise ValueError(f"heads of {head_width} channels do not divide a width of {width}")
            heads = width // head_width
        if heads is None:
            if width % DEFAULT_HEAD_WIDTH:
                raise ValueError(
                    f"a width of {width} has no default number of heads: "
                    f"use a multiple of {DEFAULT_HEAD_WIDTH}, or set heads or head_width"
                )
            heads = width // DEFAULT_HEAD_WIDTH
        if feed_forward is None:
            ratio = DEFAULT_FEED_FORWARD_RATIO if feed_forward_ratio is None else feed_forward_ratio
            feed_forward = round(ratio * width)
            if feed_forward / width != ratio:
                raise ValueError(
                    f"{ratio:g} times a width of {width} is {ratio * width:.12g} neurons; "
                    "it must be a whole number of them"
                )
        return cls(
            depth,
            width,
            heads,
            feed_forward,
            decoder_depth,
            activation=activation,
            tied_embeddings=tied_embeddings,
        )

    @property
    def shape(self) -> Shape:
        """Its layers before compression."""
        return self.pruned()

    def pruned(
        self, *, heads: float = 0.0, feed_forward: float = 0.0, layers: float = 0.0
    ) -> Shape:
        """Its layers after structured pruning.

        Args:
            heads: Fraction of each layer's heads to remove, 0 to 1; at least one stays.
            feed_forward: Fraction of each layer's feed-forward neurons to remove. A multiple of 32
                stays, so that the smaller matrix still fills vector registers and quantisation
                groups.
            layers: Fraction of each stack's layers to remove; at least one stays.
        """
        return Shape(
            depth=kept(self.depth, layers),
            decoder_depth=kept(self.decoder_depth, layers) if self.decoder_depth else 0,
            width=self.width,
            heads=self.head_group * kept(self.heads // self.head_group, heads),
            head_width=self.head_width,
            feed_forward=kept_neurons(self.feed_forward, feed_forward),
            vocabulary=self.vocabulary,
            activation=self.activation,
            tied_embeddings=self.tied_embeddings,
        )

    def __str__(self) -> str:
        layers = f"{self.depth}+{self.decoder_depth}" if self.decoder_depth else f"{self.depth}"
        pieces = f" {self.vocabulary} pieces" if self.vocabulary else ""
        return " ".join([f"{layers}x{self.width}{pieces}", *self.proportions])

    @property
    def proportions(self) -> list[str]:
        """What is not as usual, such as ``head_width 16``."""
        found = []
        if self.head_width != DEFAULT_HEAD_WIDTH:
            found.append(f"head_width {self.head_width}")
        if self.feed_forward != DEFAULT_FEED_FORWARD_RATIO * self.width:
            found.append(f"feed_forward {self.feed_forward}")
        if self.activation:
            found.append(f"activation {self.activation}")
        if not self.tied_embeddings:
            found.append("untied embeddings")
        return found


@dataclass(frozen=True, slots=True, order=True)
class CheckpointArchitecture(Architecture):
    """What is kept of one of the several checkpoints of a search.

    Args:
        checkpoint: Its name in the search file.
    """

    checkpoint: str = field(kw_only=True)

    def __str__(self) -> str:
        return f"{self.checkpoint.rpartition('/')[2]} {Architecture.__str__(self)}"


def kept(count: int, sparsity: float) -> int:
    """Of so many heads or layers, those that pruning a fraction of them leaves: at least one."""
    return max(1, round(count * (1.0 - sparsity)))


def kept_neurons(count: int, sparsity: float) -> int:
    """Of so many neurons, those that pruning a fraction of them leaves: a multiple of 32."""
    if sparsity == 0.0 or count <= FEED_FORWARD_MULTIPLE:
        return count
    kept = count * (1.0 - sparsity) / FEED_FORWARD_MULTIPLE
    return min(count, FEED_FORWARD_MULTIPLE * max(1, round(kept)))


def _sizes(architecture: Architecture) -> tuple[float, ...]:
    """What a model is the larger for; a vocabulary of 0 is a whole one."""
    a = architecture
    return a.depth, a.decoder_depth, a.width, a.heads, a.feed_forward, a.vocabulary or math.inf
