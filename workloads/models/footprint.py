"""The sizes that decide how much memory a phase needs."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.gemm.weights import WeightFormat


@dataclass(frozen=True)
class Footprint:
    """Sizes of a phase on which its use of device memory depends."""

    batch: int
    """Number of sequences."""
    kv_len: int
    """Tokens in the KV cache of each sequence at the end of the phase, its own included."""
    tokens: int
    """Tokens that the phase computes, all sequences together."""
    logit_tokens: int
    """Tokens that the LM head sees."""
    tp: int
    dtype_bits: int
    """Bits of an element of weights, KV cache and activations."""
    unfused: bool
    """Whether attention scores and probabilities go through memory."""
    ep: int = 1
    """Groups of chips that share out the batch (of which this is one group's part) and the routed experts."""
    weights: WeightFormat | None = None
    """Form in which the weights of layers are stored; None: plainly."""
    kv_bits: int = 0
    """Bits of an element of the KV cache, scales shared out; 0: as activations."""
    pp: int = 1
    """Pipeline stages; ``tokens`` are then those of one micro-batch, ``batch`` still all sequences."""
