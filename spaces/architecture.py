"""The shape of a model: depth, width, attention heads and feed-forward width."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_HEAD_WIDTH = 32
DEFAULT_FEED_FORWARD_RATIO = 4
FEED_FORWARD_MULTIPLE = 32


@dataclass(frozen=True, slots=True, order=True)
class Architecture:
    """One Transformer encoder shape.

    Args:
        depth: Number of layers.
        width: Hidden size.
        heads: Attention heads per layer; divides ``width``.
        feed_forward: Neurons in the feed-forward block of each layer.

    Raises:
        ValueError: A number is not positive, or ``heads`` does not divide ``width``.
    """

    depth: int
    width: int
    heads: int
    feed_forward: int

    def __post_init__(self) -> None:
        for name in ("depth", "width", "heads", "feed_forward"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {self.width}")

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads

    @classmethod
    def of(
        cls, depth: int, width: int, *, heads: int | None = None, feed_forward: int | None = None
    ) -> Architecture:
        """Make an architecture, filling in the usual proportions.

        Without ``heads`` there is one head per 32 of width; without ``feed_forward`` the block is
        four times the width, as in Vaswani et al. 2017 (arXiv 1706.03762), section 3.3.

        Raises:
            ValueError: The numbers do not fit together.
        """
        if heads is None:
            if width % DEFAULT_HEAD_WIDTH:
                raise ValueError(
                    f"a width of {width} has no default number of heads: "
                    f"use a multiple of {DEFAULT_HEAD_WIDTH}, or set the heads"
                )
            heads = width // DEFAULT_HEAD_WIDTH
        if feed_forward is None:
            feed_forward = DEFAULT_FEED_FORWARD_RATIO * width
        return cls(depth, width, heads, feed_forward)

    def kept_heads(self, sparsity: float) -> int:
        """Heads per layer that structured pruning at ``sparsity`` (0 to 1) leaves, at least one."""
        return max(1, round(self.heads * (1.0 - sparsity)))

    def kept_feed_forward(self, sparsity: float) -> int:
        """Feed-forward neurons per layer that structured pruning at ``sparsity`` leaves.

        Rounded to a multiple of 32, so that the smaller matrix still fills vector registers and
        quantisation groups.
        """
        if sparsity == 0.0 or self.feed_forward <= FEED_FORWARD_MULTIPLE:
            return self.feed_forward
        kept = self.feed_forward * (1.0 - sparsity) / FEED_FORWARD_MULTIPLE
        return min(self.feed_forward, FEED_FORWARD_MULTIPLE * max(1, round(kept)))

    def __str__(self) -> str:
        return f"{self.depth}x{self.width}"
