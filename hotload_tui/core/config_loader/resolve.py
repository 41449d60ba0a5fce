"""All layers together: the ``Config`` that holds, and the origin of each value."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from hotload_tui.core.config import Config
from hotload_tui.core.config_loader.layers import (
    FOLDERS,
    Layer,
    environment_layers,
    file_layers,
    misspelled,
)
from hotload_tui.core.config_loader.problems import dotted, problems_in, suggestion
from hotload_tui.core.errors import ConfigError

DEFAULT = "default"

logger = logging.getLogger("hotload.config")


class Setting(Struct, frozen=True):
    """One value, and where it came from."""

    key: str
    value: object
    source: str
    """A file, a variable, a flag, or ``default``."""


class Resolved(Struct, frozen=True):
    """A configuration with the story of how it came about."""

    config: Config
    settings: tuple[Setting, ...]
    warnings: tuple[str, ...]
    """What is probably a mistake, and changed nothing."""


def load_config(
    path: Path | None = None, *, runtime_dir: Path | None = None, compiled_dir: Path | None = None
) -> Config:
    """Return the configuration of the project in the working directory, or of the file ``path``.

    In rising order of weight: ``[tool.hotload]`` in ``pyproject.toml``, ``hotload.toml`` beside it, the
    environment (``HOTLOAD_LOAD_TIMEOUT=3``), and the folders given here. Relative folders belong to the
    file that names them; those of the environment and those given here belong to the working directory.

    Raises:
        ConfigError: something is wrong; one line for each thing that is.

    """
    resolved = resolve(path, runtime_dir=runtime_dir, compiled_dir=compiled_dir)
    for warning in resolved.warnings:
        logger.warning("%s", warning)
    return resolved.config


def resolve(
    path: Path | None = None,
    *,
    runtime_dir: Path | None = None,
    compiled_dir: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Resolved:
    """Do as ``load_config``, and tell where each value came from.

    Raises:
        ConfigError: something is wrong; one line for each thing that is.

    """
    folders = (("--plugins", "runtime_dir", runtime_dir), ("--compiled", "compiled_dir", compiled_dir))
    layers = [*file_layers(path), *environment_layers(environment)]
    layers += [Layer(flag, {key: str(folder)}) for flag, key, folder in folders if folder is not None]
    problems = [f"{layer.source}: {problem}" for layer in layers for problem in _problems(layer)]
    if problems:
        raise ConfigError("\n".join(problems))
    home = Path() if path is None else path.parent
    table: dict[str, object] = {name: str(home / str(getattr(Config(), name))) for name in FOLDERS}
    for layer in layers:
        table = _merged(table, layer.table)
    config = msgspec.convert(table, Config)
    return Resolved(config, tuple(_settings(config, table, layers)), tuple(misspelled(environment)))


def unmatched_entries(config: Config, names: Iterable[str]) -> tuple[str, ...]:
    """Warn of each ``[plugins.<name>]`` for which there is no directory among ``names``."""
    known = sorted(names)
    return tuple(
        f"[{dotted(('plugins', entry))}] has no plugin directory of that name{suggestion(entry, known)}"
        for entry in config.plugins
        if entry not in known
    )


def _problems(layer: Layer) -> list[str]:
    """Check a layer by itself, so that what is wrong is told of the place that says it."""
    problems = [*layer.problems, *problems_in(layer.table, Config)]
    if not problems:
        try:
            msgspec.convert(layer.table, Config)
        except (ConfigError, msgspec.ValidationError) as error:
            problems.append(str(error))
    return problems


def _merged(low: Mapping[str, object], high: Mapping[str, object]) -> dict[str, object]:
    """Put one table over another, key by key, also in the tables within them."""
    merged = dict(low)
    for key, value in high.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _settings(config: Config, table: Mapping[str, object], layers: list[Layer]) -> Iterator[Setting]:
    """Give every top-level value, and of the tables what is written somewhere."""
    for name in Config.__struct_fields__:
        value: object = getattr(config, name)
        if not isinstance(value, (dict, Struct)):
            yield Setting(name, value, _source((name,), layers))
        for key, leaf in _leaves(table.get(name), (name,)):
            yield Setting(dotted(key), leaf, _source(key, layers))


def _leaves(value: object, key: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], object]]:
    if isinstance(value, dict):
        for name, item in value.items():
            if isinstance(item, dict):
                yield from _leaves(item, (*key, name))
            else:
                yield (*key, name), item


def _source(key: tuple[str, ...], layers: list[Layer]) -> str:
    return next((layer.source for layer in reversed(layers) if _has(layer.table, key)), DEFAULT)


def _has(table: object, key: tuple[str, ...]) -> bool:
    for name in key:
        if not isinstance(table, dict) or name not in table:
            return False
        table = table[name]
    return True
