"""``hotload doctor``: examine the environment; each finding is fine, worth knowing, or a problem to fix."""

from __future__ import annotations

import contextlib
import importlib.metadata
import locale
import os
import platform
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from hotload_tui.core.artifact import Artifact, exposure, is_shared, owner_of, remedy
from hotload_tui.core.compiled import find_artifacts
from hotload_tui.core.config import Config
from hotload_tui.core.config_files import Resolved, Setting, unmatched_entries
from hotload_tui.core.directories import find_plugins
from hotload_tui.core.errors import ArtifactError, HotloadError, RuntimeDirError, near
from hotload_tui.core.interpreter import TRICKS, works
from hotload_tui.core.layout import DEFAULT
from hotload_tui.remote import find_hosts
from hotload_tui.tui.programs import clipboard_commands

INOTIFY: Final = Path("/proc/sys/fs/inotify")
_ROOM: Final = 2  # times the watches needed: other programs of the user need watches, too
_FEW_INSTANCES: Final = 16
_PACKAGE: Final = "hotload-tui"
_NEEDED: Final = ("click", "msgspec", "pathspec", "pygments", "textual", "watchfiles")
_NEEDED_ON_LINUX: Final = ("inotify-simple",)
_UNIT: Final = 1024

Verdict: TypeAlias = Literal["ok", "note", "do"]


class Finding(Struct, frozen=True):
    """One thing that was examined."""

    subject: str
    verdict: Verdict
    """``ok``, ``note`` (it works; this is worth knowing) or ``do`` (fix this)."""
    text: str
    advice: str = ""
    """What to do."""


class Report(Struct, frozen=True):
    """All findings, and every setting with its origin."""

    findings: tuple[Finding, ...]
    settings: tuple[Setting, ...]

    @property
    def is_fine(self) -> bool:
        """Whether there is no problem to fix."""
        return not any(finding.verdict == "do" for finding in self.findings)


def examine(resolved: Resolved, environment: Mapping[str, str] = os.environ) -> Report:
    """Examine everything, without running plugin code or changing anything."""
    settings = [Finding("settings", "do", warning) for warning in resolved.warnings]
    return Report(tuple(_findings(resolved.config, settings, environment)), resolved.settings)


def examine_broken(
    problem: HotloadError, config: Config, environment: Mapping[str, str] = os.environ
) -> Report:
    """Examine everything with ``config`` in place of the configuration that ``problem`` makes unusable."""
    advice = "fix it: until then, only commands to a running host work"
    settings = [Finding("settings", "do", line, advice) for line in str(problem).splitlines()]
    return Report(tuple(_findings(config, settings, environment)), ())


def _findings(
    config: Config, settings: Iterable[Finding], environment: Mapping[str, str]
) -> Iterator[Finding]:
    yield from _python()
    yield from settings
    yield from _plugins(config)
    yield from _compiled(config)
    yield from _watcher(config)
    yield _locale()
    yield from _terminal(environment)
    yield _hosts(config)


def _python() -> Iterator[Finding]:
    text = f"{platform.python_implementation()} {platform.python_version()} ({sys.executable})"
    if platform.python_implementation() == "CPython":
        yield Finding("python", "ok", text)
    else:
        yield Finding("python", "note", f"{text}; hotload is tested with CPython only")
    yield Finding("hotload", "ok", _version(_PACKAGE))
    for trick in TRICKS:
        if not works(trick):
            text = f"hotload cannot {trick.purpose}: {trick.fallback}"
            checked = f"checked with CPython 3.11 to 3.{trick.newest}"
            yield Finding("python", "note", f"{text} ({trick.name}, {checked})")
    needed = _NEEDED + (_NEEDED_ON_LINUX if sys.platform == "linux" else ())
    yield Finding("packages", "ok", ", ".join(f"{name} {_version(name)}" for name in needed))


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed as a package)"


def _plugins(config: Config) -> Iterator[Finding]:
    folder = Path(config.runtime_dir)
    try:
        plugins = find_plugins(folder, config.layout)
    except RuntimeDirError as error:
        yield Finding("plugins", "do", str(error))
        return
    yield Finding("plugins", "ok", f"{near(folder)}: {len(plugins)} plugin{'s' * (len(plugins) != 1)}")
    if config.layout != DEFAULT:
        yield Finding("plugins", "ok", config.layout.describe())
    yield from _writable_by_others(folder, [plugin.path for plugin in plugins.values()], "plugins")
    if folder.exists() and not os.access(folder, os.W_OK):
        yield Finding(
            "plugins",
            "note",
            f"{near(folder)} cannot be written: plugins run, but you cannot create, enable or disable any",
        )
    for warning in unmatched_entries(config, plugins):
        yield Finding("settings", "do", warning, "correct its name, or remove the entry")


def _writable_by_others(folder: Path, below: list[Path], subject: str) -> Iterator[Finding]:
    """Find where other users can write code that runs as this user: in the folder or anywhere ``below``."""
    if sys.platform == "win32":
        return  # on Windows the mode does not show the access rights
    roots = [each.resolve() for each in below]  # a plugin may be a link
    facts = _facts([folder.resolve(), *roots, *(path for each in roots for path in each.rglob("*"))])
    strange = [path for path, fact in facts.items() if fact.st_uid not in (os.getuid(), 0)]
    if strange:
        text = f"user {facts[strange[0]].st_uid} owns {_shown(strange)}, and that code runs as you"
        me, owner = os.getuid(), owner_of(folder)
        if me == 0 and {facts[path].st_uid for path in strange} == {owner}:
            advice = f"as usual in a container; hotload can also run as that user: --user {owner}"
            yield Finding(subject, "note", text, advice)
        else:
            yield Finding(subject, "do", text, f"take ownership: chown -R {me} {near(folder)}")
    open_to_all = [path for path, fact in facts.items() if fact.st_mode & stat.S_IWOTH]
    if open_to_all:
        text = f"everybody can write to {_shown(open_to_all)}, and that code runs as you"
        yield Finding(subject, "do", text, f"chmod -R o-w {near(folder)}")
    shared = [path for path, fact in facts.items() if fact.st_mode & stat.S_IWGRP and is_shared(fact.st_gid)]
    if shared:
        text = f"group {facts[shared[0]].st_gid} can write to {_shown(shared)}, and that code runs as you"
        yield Finding(subject, "note", text, f"if you do not want this: chmod -R g-w {near(folder)}")


def _facts(paths: Iterable[Path]) -> dict[Path, os.stat_result]:
    """Return the facts of files and folders; links are left out."""
    facts = {}
    for path in paths:
        with contextlib.suppress(OSError):  # it has just been removed
            fact = path.lstat()
            if not stat.S_ISLNK(fact.st_mode):
                facts[path] = fact
    return facts


def _shown(paths: list[Path]) -> str:
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{near(paths[0])}{more}"


def _compiled(config: Config) -> Iterator[Finding]:
    folder = Path(config.compiled_dir)
    if not folder.exists():
        parent = next(each for each in folder.absolute().parents if each.exists())
        if os.access(parent, os.W_OK):
            yield Finding("compiled", "ok", f"{near(folder)} does not exist yet; the first build creates it")
        else:
            yield _unwritable(parent)
        return
    if not os.access(folder, os.W_OK):
        yield _unwritable(folder)
    try:
        found = [path for paths in find_artifacts(folder).values() for path in paths]
    except ArtifactError as error:
        yield Finding("compiled", "do", str(error), "name another folder with --compiled")
        return
    plugins = Path(config.runtime_dir)
    refused = {path: fact for path, fact in _facts([folder, *found]).items() if exposure(fact, plugins)}
    if refused:
        fact = next(iter(refused.values()))
        text = (
            f"{exposure(fact, plugins)} {_shown(list(refused))}: hotload refuses code that others can change"
        )
        yield Finding("compiled", "do", text, remedy(fact, near(folder), plugins))
    found = [path for path in found if path not in refused]
    useless = [path for path in found if not _is_usable(path, plugins)]
    yield Finding("compiled", "ok", f"{near(folder)}: {_amount(found)}")
    if useless:
        yield Finding(
            "compiled",
            "note",
            f"this Python cannot use {_amount(useless)} of these: made by another Python, or damaged",
            "'hotload clean --all' removes all artifacts; hotload builds those that it needs again",
        )


def _unwritable(folder: Path) -> Finding:
    advice = "give yourself the right, or name another folder with --compiled"
    return Finding("compiled", "do", f"{near(folder)} cannot be written: nothing can be built", advice)


def _is_usable(path: Path, plugins: Path) -> bool:
    try:
        Artifact(path, plugins)
    except ArtifactError:
        return False
    return True


def _amount(paths: list[Path]) -> str:
    size = sum(fact.st_size for fact in _facts(paths).values())
    shown = f"{size} bytes" if size < _UNIT else f"{size / _UNIT:,.0f} KiB"
    return f"1 artifact, {shown}" if len(paths) == 1 else f"{len(paths)} artifacts, {shown}"


def _watcher(config: Config) -> Iterator[Finding]:
    if not config.enable_watch:
        yield Finding("watcher", "note", "enable_watch is false: saves reload nothing")
        return
    notifier = config.watch.notifier
    if notifier == "sweep":
        text = f'[watch] notifier = "sweep": a scan every {config.sweep_interval:g} s finds saves'
        yield Finding("watcher", "ok", text)
    elif sys.platform == "linux":
        yield from _inotify(config, notifier)  # on Linux watchfiles uses inotify, too
    elif notifier == "inotify":
        text = '[watch] notifier = "inotify" exists on Linux only: watchfiles is used'
        yield Finding("watcher", "note", text, 'write notifier = "watchfiles", or remove the line')
    else:
        yield Finding("watcher", "ok", "watchfiles; this system states no limit")


def _inotify(config: Config, notifier: str) -> Iterator[Finding]:
    roots = (config.runtime_dir, *config.layout.packages.values())
    needed = sum(1 for root in roots for _ in os.walk(root, followlinks=False))
    for name, least, need in (
        ("max_user_watches", _ROOM * needed, f"{needed} directories to watch"),
        ("max_user_instances", _FEW_INSTANCES, "one for each manager"),
    ):
        limit = _limit(name)
        if limit is None:
            yield Finding("watcher", "note", f"fs.inotify.{name} cannot be read; {need}")
        elif limit < least:
            more = f"sudo sysctl fs.inotify.{name}={max(least, 8192 if 'watches' in name else 128)}"
            text = f"fs.inotify.{name} is {limit}, too few: {need}, and other programs need some"
            yield Finding("watcher", "do", text, more)
        else:
            yield Finding("watcher", "ok", f"{notifier}: {need}, fs.inotify.{name} is {limit}")


def _limit(name: str) -> int | None:
    try:
        return int((INOTIFY / name).read_text())
    except (OSError, ValueError):
        return None


def _locale() -> Finding:
    encoding = locale.getencoding()
    text = f"{encoding}; file names: {sys.getfilesystemencoding()}"
    if encoding.lower().replace("-", "") == "utf8":
        return Finding("locale", "ok", text)
    advice = "set LANG to a UTF-8 locale, such as C.UTF-8, or set PYTHONUTF8=1"
    return Finding("locale", "do", f"{text}: Python reads and writes text files in this encoding", advice)


def _terminal(environment: Mapping[str, str]) -> Iterator[Finding]:
    term = environment.get("TERM", "")
    if term in ("", "dumb", "unknown"):
        text = f"TERM={term or '(not set)'}: no console here; 'hotload run' and all other commands work"
        yield Finding("terminal", "note", text, "open the console in a terminal that sets TERM")
    else:
        yield Finding("terminal", "ok", f"TERM={term}, {_colours(environment, term)}")
    tools = [command[0] for command in clipboard_commands(environment)]
    if tools:
        yield Finding("clipboard", "ok", f"{', '.join(tools)}, and the terminal itself (OSC 52)")
    else:
        text = "only the terminal itself (OSC 52), which some terminals refuse; copies also go to a file"
        yield Finding("clipboard", "note", text, "install wl-copy, xclip or xsel if copies do not arrive")


def _colours(environment: Mapping[str, str], term: str) -> str:
    if environment.get("NO_COLOR"):
        return "no colours (NO_COLOR)"
    if environment.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
        return "16 million colours"
    if "256color" in term:
        return "256 colours; set COLORTERM=truecolor if the terminal has more"
    return "16 colours; set TERM=xterm-256color or COLORTERM=truecolor if the terminal has more"


def _hosts(config: Config) -> Finding:
    try:
        hosts = find_hosts(Path(config.runtime_dir))
    except HotloadError as error:
        return Finding("hosts", "do", str(error))
    if not hosts:
        return Finding("hosts", "ok", "no host runs on these plugins")
    pids = ", ".join(str(host.pid) for host in hosts)
    if len(hosts) == 1:
        return Finding("hosts", "ok", f"host {pids} runs on these plugins")
    text = f"{len(hosts)} hosts run on these plugins: {pids}"
    return Finding("hosts", "note", text, "commands choose one with --host PID")
