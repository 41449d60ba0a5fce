"""The same as ``src/lib.rs`` in Python."""

from __future__ import annotations

import math


def entropy(content: bytes) -> float:
    """Return the entropy in bits per byte."""
    counts = [0] * 256
    for byte in content:
        counts[byte] += 1
    shares = [count / len(content) for count in counts if count]
    return -sum(share * math.log2(share) for share in shares)
