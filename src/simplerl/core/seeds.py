"""Randomness is addressed, not consumed: every draw is a pure function of (seed, purpose, where it is used).

So a resumed run draws what the uninterrupted one would have drawn, workers may die and be replaced, and the order in
which work finishes cannot change a result.
"""

import hashlib

import numpy as np


def derive(seed: int, purpose: str, *address: int | str) -> int:
    """Return a 128-bit key for one address. Distinct addresses give independent keys (BLAKE2b)."""
    text = "\x1f".join([str(seed), purpose, *(f"{type(part).__name__}:{part}" for part in address)])
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest(), "little")


def generator(seed: int, purpose: str, *address: int | str) -> np.random.Generator:
    """Return a counter-based (Philox) generator keyed by one address."""
    return np.random.Generator(np.random.Philox(key=derive(seed, purpose, *address)))


def torch_seed(seed: int, purpose: str, *address: int | str) -> int:
    """Return a 63-bit seed for `torch.manual_seed`, for library code that cannot take addressed draws."""
    return derive(seed, purpose, *address) & (2**63 - 1)


def split_of(text: str, test_share: float) -> str:
    """Return the split that a generated question belongs to, decided by a hash of a text of it alone."""
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()
    return "test" if int.from_bytes(digest, "little") / 2**64 < test_share else "train"
