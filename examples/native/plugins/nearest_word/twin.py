"""The same as ``fast.pyx`` in Python."""

from __future__ import annotations


def distance(one: str, other: str) -> int:
    """Return how many characters must be added, removed or replaced to make one word of the other."""
    row = list(range(len(other) + 1))
    for number, left in enumerate(one, 1):
        before, row[0] = row[0], number
        for column, right in enumerate(other, 1):
            cost = min(row[column] + 1, row[column - 1] + 1, before + (left != right))
            before, row[column] = row[column], cost
    return row[-1]
