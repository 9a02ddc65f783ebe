"""Attention kernels: streamed, unfused, paged and ragged sequences, latents, native sparse, narrow caches."""
