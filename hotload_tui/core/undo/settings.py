"""Settings and tables of the standard library that few plugins change, read for those that name them."""

from __future__ import annotations

import copyreg
import ctypes
import faulthandler
import gc
import importlib
import logging
import os
import signal
import socket
import sys
import threading
import time
import typing
from collections.abc import Hashable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final, Protocol, cast

from hotload_tui.core.artifact import Artifact
from hotload_tui.core.undo.owner import Owner, name_of
from hotload_tui.core.undo.registers import (
    MISSING,
    Entries,
    ListRegister,
    PlainRegister,
    ProcessSetting,
    Register,
    RegisterChange,
    Table,
)

if TYPE_CHECKING:
    from decimal import DecimalException

_MOST: Final = 1 << 17  # the largest artifact to search, in bytes


@dataclass(eq=False, slots=True)
class _NamedSetting(ProcessSetting):
    """A setting that only code that contains one of ``words`` can change."""

    def may_change(self, artifact: Artifact) -> bool:
        return artifact.may_say((self.module,) if self.module else self.words, _MOST)


@dataclass(eq=False, slots=True)
class _NamedTable(Table):
    """A dictionary that only code that contains one of ``words`` can change."""

    def may_change(self, artifact: Artifact) -> bool:
        return artifact.may_say(self.words, _MOST)

    def owned(self, owner: Owner) -> Iterator[Hashable]:
        # Not imported for this: a module that nobody has imported has no entries of plugins.
        if not isinstance(self.get, _ModuleTable) or self.get.module in sys.modules:
            yield from Table.owned(self, owner)


@dataclass(eq=False, slots=True)
class _NamedWords(PlainRegister, _NamedTable):
    """Such a dictionary of strings."""


class Dialects(Register):
    """The dialects of ``csv``."""

    category = "csv dialect"
    words = ("register_dialect", "unregister_dialect")

    def may_change(self, artifact: Artifact) -> bool:  # noqa: D102 - as Register
        return artifact.may_say(self.words, _MOST)

    def read(self) -> Entries:  # noqa: D102 - as Register
        import csv  # here and elsewhere: only for plugins that import the module too

        return {name: csv.get_dialect(name) for name in csv.list_dialects()}

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        import csv

        if value is MISSING:
            csv.unregister_dialect(str(key))
        else:
            csv.register_dialect(str(key), cast("type[csv.Dialect]", value))

    def tell(self, key: Hashable, value: object) -> str:  # noqa: ARG002, D102 - as Register
        return f"'{key}'"

    def owned(self, owner: Owner) -> Iterator[Hashable]:  # noqa: D102 - as Register
        return super().owned(owner) if "csv" in sys.modules else iter(())


class _Database(Protocol):
    """The tables of ``mimetypes``: the additional types first, then the official ones."""

    types_map: tuple[dict[str, str], dict[str, str]]
    types_map_inv: tuple[dict[str, list[str]], dict[str, list[str]]]


class MimeTypes(PlainRegister):
    """The types of file names in ``mimetypes``, by the file's suffix and whether the type is official."""

    category = "mimetype"
    words = ("add_type", "types_map", "common_types")

    def may_change(self, artifact: Artifact) -> bool:  # noqa: D102 - as Register
        return artifact.may_say(self.words, _MOST)

    def read(self) -> Entries:  # noqa: D102 - as Register
        return {
            (suffix, is_official): kind
            for is_official in (False, True)
            for suffix, kind in _types(is_official).items()
        }

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        suffix, is_official = cast("tuple[str, bool]", key)
        before = _types(is_official).pop(suffix, None)
        suffixes = _database().types_map_inv[is_official].get(before or "", [])
        if suffix in suffixes:
            suffixes.remove(suffix)
        if value is not MISSING:
            import mimetypes

            mimetypes.add_type(str(value), suffix, is_official)

    def tell(self, key: Hashable, value: object) -> str:  # noqa: D102 - as Register
        return f"{cast('tuple[str, bool]', key)[0]}: {name_of(value)}"


def _types(is_official: bool) -> MutableMapping[str, str]:  # noqa: FBT001 - the index that mimetypes uses
    return _database().types_map[is_official]


def _database() -> _Database:
    import mimetypes

    if not mimetypes.inited:
        mimetypes.init()
    return cast("_Database", getattr(mimetypes, "_db"))  # noqa: B009 - not in the stubs


class _Codes(PlainRegister):
    """Numbers and what each stands for, which a module keeps in both directions."""

    def may_change(self, artifact: Artifact) -> bool:
        return artifact.may_say(self.words, _MOST)

    def tell(self, key: Hashable, value: object) -> str:
        return f"{key}: {name_of(value)}"


class LevelNames(_Codes):
    """The names of levels in ``logging``, by their numbers."""

    category = "level name"
    words = ("addLevelName",)

    def read(self) -> Entries:  # noqa: D102 - as Register
        return dict(cast("Entries", getattr(logging, "_levelToName", {})))

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        names: dict[object, object] = getattr(logging, "_levelToName", {})
        numbers: dict[object, object] = getattr(logging, "_nameToLevel", {})
        numbers.pop(names.pop(key, None), None)
        if value is not MISSING:
            logging.addLevelName(cast("int", key), str(value))


class Extensions(_Codes):
    """The short codes of classes in pickles, which ``copyreg`` keeps."""

    category = "pickle extension"
    words = ("add_extension", "remove_extension")

    def read(self) -> Entries:  # noqa: D102 - as Register
        return dict(cast("Entries", getattr(copyreg, "_inverted_registry", {})))

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        code, known = cast("int", key), self.read()
        if code in known:
            copyreg.remove_extension(*cast("tuple[str, str]", known[code]), code)
        if value is not MISSING:
            copyreg.add_extension(*cast("tuple[str, str]", value), code)


class ChildVariables(PlainRegister):
    """The variables that child processes get but ``os.environ`` lacks, or the other way round."""

    category = "environment"
    words = ("putenv", "unsetenv")

    def may_change(self, artifact: Artifact) -> bool:  # noqa: D102 - as Register
        return artifact.may_say(self.words, _MOST)

    def read(self) -> Entries:  # noqa: D102 - as Register
        own, inherited = cast("dict[bytes, bytes]", getattr(os.environ, "_data", {})), _child_variables()
        if inherited is None or sys.platform == "win32":
            return {}
        names = [name for name in {**own, **inherited} if own.get(name) != inherited.get(name)]
        return {name: inherited.get(name) for name in names}

    def write(self, key: Hashable, value: object) -> None:
        """Set the variable; ``MISSING``: to its value in ``os.environ``."""
        name = cast("bytes", key)
        value = os.environb.get(name) if value is MISSING else value
        if value is None:
            os.unsetenv(name)
        else:
            os.putenv(name, cast("bytes", value))

    def tell(self, key: Hashable, value: object) -> str:  # noqa: ARG002, D102 - the value may be a secret
        return f"variable {os.fsdecode(cast('bytes', key))} of child processes"


def _child_variables() -> dict[bytes, bytes] | None:
    """Return the environment that the C library gives to child processes; ``None`` if it cannot be read."""
    try:
        places = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")
    except (OSError, TypeError, ValueError):  # only the executable can read it on macOS
        return None
    found: dict[bytes, bytes] = {}
    while places and (entry := places[len(found)]):  # type: ignore[truthy-bool]  # a null pointer is false
        name, _, value = entry.partition(b"=")
        found[name] = value
    return found


class Limits(PlainRegister):
    """The limits of the process that ``resource`` sets; a lowered hard limit stays, unless root runs this."""

    category = "resource limit"
    words = ("setrlimit", "prlimit")

    def may_change(self, artifact: Artifact) -> bool:  # noqa: D102 - as Register
        return artifact.may_say(self.words, _MOST)

    def read(self) -> Entries:  # noqa: D102 - as Register
        if sys.platform == "win32":
            return {}
        import resource

        names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
        return {name: resource.getrlimit(getattr(resource, name)) for name in names}

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        if sys.platform != "win32" and value is not MISSING:
            import resource

            resource.setrlimit(getattr(resource, str(key)), cast("tuple[int, int]", value))

    def tell(self, key: Hashable, value: object) -> str:  # noqa: D102 - as Register
        return f"{key} = {value}"


class Streams(PlainRegister):
    """How the standard streams encode and buffer."""

    category = "standard stream"
    words = ("reconfigure",)

    def may_change(self, artifact: Artifact) -> bool:  # noqa: D102 - as Register
        return artifact.may_say(self.words, _MOST)

    def read(self) -> Entries:  # noqa: D102 - as Register
        names = ("__stdin__", "__stdout__", "__stderr__", "stdin", "stdout", "stderr")
        streams = {id(stream): name for name in reversed(names) if (stream := getattr(sys, name, None))}
        return {
            name: tuple(getattr(stream, key) for key in _STREAM)
            for name in streams.values()
            if isinstance(stream := getattr(sys, name), TextIOWrapper)
        }

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        stream, values = getattr(sys, str(key)), cast("tuple[object, ...]", value)
        stream.reconfigure(**dict(zip(_STREAM, values, strict=True)))

    def tell(self, key: Hashable, value: object) -> str:  # noqa: D102 - as Register
        return f"sys.{key}: {' '.join(map(str, cast('tuple[object, ...]', value)))}"


_STREAM: Final = ("encoding", "errors", "line_buffering", "write_through")


class MonitoringTools(PlainRegister):
    """The names of the tools of ``sys.monitoring`` by their numbers; an undone tool loses its callbacks."""

    category = "monitoring tool"
    words = ("use_tool_id",)

    def may_change(self, artifact: Artifact) -> bool:  # noqa: D102 - as Register
        return artifact.may_say(self.words, _MOST)

    def read(self) -> Entries:  # noqa: D102 - as Register
        if sys.version_info < (3, 12):
            return {}
        names = ((tool, sys.monitoring.get_tool(tool)) for tool in range(_TOOLS))
        return {tool: name for tool, name in names if name is not None}

    def changes(self, before: Entries, after: Entries) -> Iterator[RegisterChange]:
        """Yield the tools that came: the events of one that went are not known."""
        return (change for change in super().changes(before, after) if change.before is MISSING)

    def write(self, key: Hashable, value: object) -> None:  # noqa: ARG002, D102 - the value is ``MISSING``
        if sys.version_info >= (3, 12):
            tool, monitoring = cast("int", key), sys.monitoring
            monitoring.set_events(tool, monitoring.events.NO_EVENTS)
            for event in vars(monitoring.events).values():
                if type(event) is int and event.bit_count() == 1:
                    monitoring.register_callback(tool, event, None)
            monitoring.free_tool_id(tool)

    def tell(self, key: Hashable, value: object) -> str:  # noqa: D102 - as Register
        return f"{key} {name_of(value)}"


_TOOLS: Final = 6  # numbers that ``sys.monitoring`` has


class ModuleEntries(Register):
    """The entries of ``sys.modules`` that no import under their own name has made."""

    category = "module"
    module = "modules"

    def __init__(self, plugins: Owner) -> None:
        """Leave out the modules of ``plugins``."""
        self._plugins = plugins

    def may_change(self, artifact: Artifact) -> bool:  # noqa: D102 - as Register
        return artifact.may_say((self.module,), _MOST)

    def read(self) -> Entries:  # noqa: D102 - as Register
        return {name: each for name, each in sys.modules.copy().items() if not self._plugins.has_name(name)}

    def changes(self, before: Entries, after: Entries) -> Iterator[RegisterChange]:
        """Yield the replaced and removed modules, and the new ones with another name."""
        for change in super().changes(before, after):
            spec = getattr(change.after, "__spec__", None) if type(change.after) is ModuleType else None
            if change.before is not MISSING or getattr(spec, "name", None) != change.key:
                yield change

    def words_of(self, key: Hashable) -> tuple[str, ...]:  # noqa: D102 - as Register
        return (str(key),)

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        if value is MISSING:
            sys.modules.pop(str(key), None)
        else:
            sys.modules[str(key)] = cast("ModuleType", value)

    def tell(self, key: Hashable, value: object) -> str:  # noqa: ARG002, D102 - as Register
        return f"sys.modules['{key}']"

    def owned(self, owner: Owner) -> Iterator[Hashable]:
        """Yield the objects of the plugin that are no modules."""
        for name, each in sys.modules.copy().items():
            if type(each) is not ModuleType and not self._plugins.has_name(name) and owner.owns(each):
                yield name


def settings() -> Iterator[Register]:
    """Yield the registers of this module; the time zone comes first, and is undone last."""
    if hasattr(time, "tzset"):
        yield _NamedSetting(
            "time zone",
            ("tzset",),
            lambda: (time.tzname, time.timezone, time.altzone),
            lambda _: time.tzset(),  # from the variable TZ, which is undone by then
        )
    yield ProcessSetting(
        "socket timeout",
        ("setdefaulttimeout",),
        socket.getdefaulttimeout,
        lambda to: socket.setdefaulttimeout(cast("float | None", to)),
    )
    yield ProcessSetting(
        "limit of digits",
        ("set_int_max_str_digits",),
        sys.get_int_max_str_digits,
        lambda to: sys.set_int_max_str_digits(cast("int", to)),
    )
    yield ProcessSetting(
        "captured warnings",
        ("captureWarnings",),
        lambda: getattr(logging, "_warnings_showwarning", None) is not None,
        lambda to: logging.captureWarnings(bool(to)),
    )
    yield _NamedSetting("umask", ("umask",), _umask, lambda to: os.umask(cast("int", to)))
    yield _NamedSetting("start method", ("set_start_method",), _start_method, _set_start_method)
    if hasattr(sys, "setdlopenflags"):
        yield ProcessSetting(
            "flags of dlopen",
            ("setdlopenflags",),
            sys.getdlopenflags,
            lambda to: sys.setdlopenflags(cast("int", to)),
        )
    yield from _typing()
    yield from _numbers()
    yield from _names()
    yield ChildVariables()
    yield MonitoringTools()
    yield Limits()
    yield Streams()
    yield Dialects()
    yield MimeTypes()
    yield _NamedWords(
        "XML namespace", ("register_namespace",), _ModuleTable("xml.etree.ElementTree", "_namespace_map")
    )
    yield _NamedTable(
        "archive format",
        ("register_archive_format", "unregister_archive_format"),
        _ModuleTable("shutil", "_ARCHIVE_FORMATS"),
    )
    yield _NamedTable(
        "unpack format",
        ("register_unpack_format", "unregister_unpack_format"),
        _ModuleTable("shutil", "_UNPACK_FORMATS"),
    )


def _typing() -> Iterator[Register]:
    """Yield the registers of ``typing``: a module that vendors ``typing_extensions`` adds to them."""
    words = ("_tp_cache", "_cleanups", "_caches")
    yield ListRegister("cleanup of typing", words, lambda: getattr(typing, "_cleanups", []))
    yield Table("cache of typing", words, lambda: getattr(typing, "_caches", None))
    dummy = getattr(typing, "_overload_dummy", None)  # @overload returns it, so decorators write to it
    yield Table("attribute of overloads", ("overload",), lambda: getattr(dummy, "__dict__", None))


def _numbers() -> Iterator[Register]:
    """Yield the settings of the standard library that are a number, a flag, or a few of these.

    The state of ``random`` is not among them: its host may have drawn numbers since, and to go back would
    draw the same numbers again.
    """
    yield _NamedSetting("csv field limit", ("field_size_limit",), _field_limit, _field_limit)
    yield _NamedSetting("decimal context", ("DefaultContext",), _decimals, _set_decimals)
    yield _NamedSetting(
        "stack size",
        ("stack_size",),
        threading.stack_size,
        lambda to: threading.stack_size(cast("int", to)),
    )
    yield _NamedSetting(
        "fault handler",
        ("enable", "disable"),
        faulthandler.is_enabled,
        _set_fault_handler,
        "faulthandler",
    )
    yield _NamedSetting(
        "collector threshold",
        ("set_threshold",),
        gc.get_threshold,
        lambda to: gc.set_threshold(*cast("tuple[int, int, int]", to)),
    )
    yield _NamedSetting(
        "collector debugging", ("set_debug",), gc.get_debug, lambda to: gc.set_debug(cast("int", to))
    )
    yield _NamedSetting(
        "origin tracking",
        ("set_coroutine_origin_tracking_depth",),
        sys.get_coroutine_origin_tracking_depth,
        lambda to: sys.set_coroutine_origin_tracking_depth(cast("int", to)),
    )
    yield _NamedSetting("memory tracing", ("start", "stop"), _is_tracing, _set_tracing, "tracemalloc")
    for name in ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF"):
        if hasattr(signal, name):
            yield _interval_timer(getattr(signal, name))


def _field_limit(*to: object) -> object:
    import csv

    return csv.field_size_limit(*cast("tuple[int, ...]", to))


_DECIMALS: Final = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")


def _decimals() -> object:
    """Return the defaults of new contexts; a context belongs to one thread or task, and ends with it."""
    from decimal import DefaultContext

    flags = (tuple(each.items()) for each in (DefaultContext.traps, DefaultContext.flags))
    return (*(getattr(DefaultContext, name) for name in _DECIMALS), *flags)


def _set_decimals(to: object) -> None:
    from decimal import DefaultContext

    *plain, traps, flags = cast("tuple[object, ...]", to)
    for name, value in zip(_DECIMALS, plain, strict=True):
        setattr(DefaultContext, name, value)
    DefaultContext.traps.update(dict(cast("Iterable[tuple[type[DecimalException], bool]]", traps)))
    DefaultContext.flags.update(dict(cast("Iterable[tuple[type[DecimalException], bool]]", flags)))


def _set_fault_handler(to: object) -> None:
    if to:
        faulthandler.enable()
    else:
        faulthandler.disable()


def _is_tracing() -> object:
    import tracemalloc

    return tracemalloc.is_tracing()


def _set_tracing(to: object) -> None:
    import tracemalloc

    if to:
        tracemalloc.start()
    else:
        tracemalloc.stop()


def _interval_timer(which: int) -> Register:
    """Return the register of one timer of ``signal``: only whether it runs, because its time changes."""
    return _NamedSetting(
        "interval timer",
        ("setitimer", "alarm"),
        lambda: signal.getitimer(which)[0] > 0,
        lambda to: None if to else signal.setitimer(which, 0),
    )


def _names() -> Iterator[Register]:
    """Yield the dictionaries of the standard library in which a name stands for something."""
    yield LevelNames()
    yield Extensions()
    yield _NamedWords("text domain", ("bindtextdomain",), _ModuleTable("gettext", "_localedirs"))
    yield _NamedWords("codec alias", ("aliases",), _ModuleTable("encodings.aliases", "aliases"))
    for name in ("CHARSETS", "ALIASES", "CODEC_MAP"):
        words = ("add_charset", "add_alias", "add_codec")
        yield _NamedWords("email charset", words, _ModuleTable("email.charset", name))
    yield _NamedTable("web browser", ("webbrowser",), _ModuleTable("webbrowser", "_browsers"))
    yield _NamedTable(
        "DOM implementation", ("registerDOMImplementation",), _ModuleTable("xml.dom.domreg", "registered")
    )


@dataclass(frozen=True, slots=True)
class _ModuleTable:
    """Returns a module's dictionary, and imports the module: a plugin that changes it does too."""

    module: str
    name: str

    def __call__(self) -> MutableMapping[Hashable, object] | None:
        found: object = getattr(importlib.import_module(self.module), self.name, None)
        return cast("MutableMapping[Hashable, object] | None", found)


_STATUS = Path("/proc/self/status")


def _umask() -> int:
    """Return the umask; only Linux shows it, elsewhere it is changed for a moment."""
    try:
        text = _STATUS.read_text("utf-8", "replace")
    except OSError:
        text = ""
    _, is_there, rest = text.partition("\nUmask:")
    if is_there:
        return int(rest.split(maxsplit=1)[0], 8)
    current = os.umask(0o077)  # files that another thread creates now are private, not open to all
    os.umask(current)
    return current


def _start_method() -> object:
    """Return the context that ``multiprocessing`` uses; ``None`` before its first use."""
    default = getattr(sys.modules.get("multiprocessing.context"), "_default_context", None)
    return getattr(default, "_actual_context", None)


def _set_start_method(context: object) -> None:
    default = getattr(sys.modules.get("multiprocessing.context"), "_default_context", None)
    if default is not None:
        default._actual_context = context  # noqa: SLF001 - set_start_method() cannot return to no method
