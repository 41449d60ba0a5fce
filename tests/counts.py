"""The amount of work of each heavy test: small counts for ``make test``, larger ones for ``make soak``."""

from __future__ import annotations

import os
from typing import Final


def _count(name: str, usual: int) -> int:
    return int(os.environ.get(f"HOTLOAD_{name}", usual))


RELOADS: Final = _count("RELOADS", 30)
"""Reloads after which nothing may have accumulated, and during which no call may be lost."""

PLUGGY_RELOADS: Final = _count("PLUGGY_RELOADS", 6)
"""Reloads during which threads call a hook through pluggy."""

WEB_RELOADS: Final = _count("WEB_RELOADS", 5)
"""Reloads of the web example under a load of requests."""

HOOKS: Final = _count("HOOKS", 1000)
"""Handlers that one plugin registers."""

MODEL_EXAMPLES: Final = _count("MODEL_EXAMPLES", 8)
"""Random histories of each state machine."""

FOLLOW_EXAMPLES: Final = _count("FOLLOW_EXAMPLES", 12)
"""Random edits of classes whose objects follow a reload."""

IS_RANDOM: Final = bool(_count("RANDOM", 0))
"""Whether the state machines try different histories in each run, to hunt for faults."""

LOOKS: Final = _count("LOOKS", 15)
"""Looks at the frames of a thread that goes on meanwhile."""

MESSAGES: Final = _count("MESSAGES", 4000)
"""Messages of nonsense that four clients send to a host."""

WALK_STEPS: Final = _count("WALK_STEPS", 300)
"""Random changes of files that the watcher follows."""

WALK_SEED: Final = _count("WALK_SEED", 1)
"""The seed of the random changes; another seed can find further faults."""

KILL_ROUNDS: Final = _count("KILL_ROUNDS", 5)
"""How often the host is killed at a random moment."""

ALL_CASES: Final = bool(_count("ALL_CASES", 0))
"""Whether to include similar inputs: near twins of hostile plugins, and the larger terminals."""

MONKEY_EVENTS: Final = _count("MONKEY_EVENTS", 150)
"""Random keys, clicks, pastes and resizes that the console must survive."""

MONKEY_SEED: Final = _count("MONKEY_SEED", 1)
"""The seed of the random events; another seed can find further faults."""
