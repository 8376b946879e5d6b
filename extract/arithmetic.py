"""Floating-point operations that work on a checkpoint takes, estimated from its sizes alone: what parts of a run are cut by and remaining time follows."""

from dataclasses import dataclass

from personascope.ingest.weights.checkpoints import Checkpoint

PART = 6e12  # about a minute of two cores, at 100 GFLOP/s
FORWARD_TOKENS = 3 * 8192  # a forward pass over so many tokens is never cut, so that a device made for large models has enough to do at once
DECODING = 3.0  # a token that is decoded takes about as long as so many that are read


@dataclass(frozen=True)
class Arithmetic:
    """Operations of a decoder of `layers` layers with `width` numbers a token and `vocabulary` tokens: 12 width² weights a layer, each used twice a token."""

    layers: int
    width: int
    vocabulary: int

    @staticmethod
    def of(checkpoint: Checkpoint) -> "Arithmetic":
        return Arithmetic(checkpoint.n_layers, checkpoint.d_model, checkpoint.vocab_size)

    def layer(self, tokens: float, seen: float) -> float:
        """One layer over `tokens` tokens, each of which sees `seen` others on average."""
        return tokens * (24.0 * self.width**2 + 4.0 * self.width * seen)

    def forward(self, tokens: float, sequences: float = 1) -> float:
        """A pass over `sequences` sequences of `tokens` tokens each, without logits."""
        return sequences * self.layers * self.layer(tokens, tokens / 2)

    def logits(self, rows: float) -> float:
        """Logits, and what is taken from them, of so many positions."""
        return 2.0 * rows * (self.width + 16) * self.vocabulary

    def decode(self, prompt: float, new: float) -> float:
        """A prompt that is read and `new` tokens that are drawn after it, one at a time."""
        return self.forward(prompt) + DECODING * new * (self.layers * self.layer(1, prompt + new / 2) + self.logits(1))

    @property
    def part(self) -> float:
        """What a part of a run costs at most: PART, or for a large model FORWARD_TOKENS read in short sequences."""
        return max(PART, self.layers * self.layer(FORWARD_TOKENS, 0) + self.logits(FORWARD_TOKENS))
