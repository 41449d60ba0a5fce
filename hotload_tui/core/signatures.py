"""The parameters of a function, whatever its annotations name."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from inspect import Signature


def signature_of(function: Callable[..., object]) -> Signature:  # type: ignore[explicit-any] # of any parameters
    """Return the signature of a function without evaluating its annotations.

    From Python 3.14 on ``inspect.signature`` evaluates them, and raises ``NameError`` for a name that only
    type checkers import.

    Raises:
        TypeError: it is no callable, or one that inspect does not support.
        ValueError: the callable tells no signature, such as some in C.

    """
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return inspect.signature(function, annotation_format=Format.STRING)
    return inspect.signature(function)
