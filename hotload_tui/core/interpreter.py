"""All code that relies on internals of the interpreter: ``TRICKS`` lists what it does and when it works.

Each trick names the Python versions that it was checked with and what happens without it. Its self-test runs
once, before the first use; if the test fails, the fallback is used. The environment variable
``HOTLOAD_WITHOUT=young-collection,…`` switches tricks off, and ``hotload doctor`` shows the fallbacks in use.
"""

from __future__ import annotations

import atexit
import codecs
import contextlib
import ctypes
import dis
import encodings
import functools
import gc
import importlib.machinery
import inspect
import itertools
import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import (
    Callable,
    Collection,
    Container,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
)
from importlib.machinery import ModuleSpec
from itertools import tee
from types import (
    AsyncGeneratorType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    ModuleType,
    TracebackType,
)
from typing import Final, NamedTuple, TypeAlias, cast

from hotload_tui.core.primitives import Event, RLock, current_thread, get_ident, main_thread


class Trick(NamedTuple):
    """One use of internals of the interpreter."""

    name: str
    purpose: str
    newest: int
    """It was checked with CPython 3.11 to 3.<newest>."""
    fallback: str
    """What happens without it."""
    test: Callable[[], bool]
    """Returns whether it works here."""


_IS_CPYTHON = sys.implementation.name == "cpython"


@functools.cache
def works(trick: Trick) -> bool:
    """Return whether the self-test of a trick passes here; the test runs once."""
    if not _IS_CPYTHON or trick.name in os.environ.get("HOTLOAD_WITHOUT", "").split(","):
        return False
    try:
        return trick.test()
    except Exception:  # the interpreter differs in a way that nobody has foreseen
        return False


# ---- frames
#
# Up to Python 3.11 the interpreter creates a frame object when code asks for it, and that allocation can
# start the collector. A finalizer then lets other threads run, and one of them may leave the frame that is
# being created; the returned object is then no longer a frame. So all code that reads frames of other threads
# uses these functions.

_COLLECTS_WITHIN_CALLS = sys.version_info < (3, 12)  # later versions collect between two instructions
_lock = RLock()  # reentrant, because a finalizer may call ``uncollected``, too
_waiting: list[bool] = []  # for each active caller: whether the collector was on


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Disable the collector during a call into C, where a finalizer would let other threads run."""
    if not _COLLECTS_WITHIN_CALLS:
        yield
        return
    with _lock:
        _waiting.append(_waiting[0] if _waiting else gc.isenabled())
        gc.disable()
    try:
        yield
    finally:
        with _lock:
            if _waiting.pop() and not _waiting:
                gc.enable()


_OURS = 3  # references to a frame's dictionary: from the frame, from ``_variables`` and from ``getrefcount``


def stacks() -> dict[int, list[FrameType]]:
    """Return the frames of each thread by its identifier, newest first.

    The calling frame is among them. If that frame keeps the result, they form a cycle, together with all that
    the frames hold.
    """
    with uncollected():  # else all threads can deadlock while one of them starts another
        running = sys._current_frames()  # noqa: SLF001 - documented; its underscore is a warning
    running[get_ident()] = sys._getframe(1)  # noqa: SLF001 - not this frame, which holds them all
    return {thread: stack_of(newest) for thread, newest in running.items()}


def caller(above: int = 0) -> FrameType | None:
    """Return the frame of the calling function's caller, or of a function further ``above``, if any."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - no public function gives a frame
    for _ in range(above + 1):
        frame = frame and frame.f_back
    return frame


_RAISE: Final = dis.opmap["RAISE_VARARGS"]


def raising_frame(error: BaseException) -> FrameType | None:
    """Return the frame whose ``raise`` statement raised an error; ``None`` if C code or a signal did."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return None
    at, code = trace.tb_lasti, trace.tb_frame.f_code.co_code
    return trace.tb_frame if code[at : at + 1] == bytes([_RAISE]) else None


def thread_stack(thread: int) -> list[FrameType]:
    """Return the frames of the thread with this identifier, oldest first; empty if it has ended."""
    return stacks().get(thread, [])[::-1]


def stack_of(frame: FrameType | None) -> list[FrameType]:
    """Return a frame and its callers, newest first."""
    found: list[FrameType] = []
    with uncollected():
        while frame is not None:
            found.append(frame)
            frame = frame.f_back
    return found


def coroutine_stack(awaited: object) -> list[FrameType]:
    """Return the frames of a suspended coroutine and of the coroutines that it awaits, oldest first."""
    frames: list[FrameType] = []
    while True:
        frame = frame_of(awaited)
        # By exact type: getattr on an awaitable of a plugin's class would run the plugin's code.
        if type(awaited) is CoroutineType:
            awaited = awaited.cr_await
        elif type(awaited) is GeneratorType:
            awaited = awaited.gi_yieldfrom
        elif type(awaited) is AsyncGeneratorType:
            awaited = awaited.ag_await
        else:
            return frames
        if frame is not None:
            frames.append(frame)


def frame_of(thing: object) -> FrameType | None:
    """Return the frame of a coroutine or generator; ``None`` if it has ended, and for other objects."""
    if type(thing) is CoroutineType:
        with uncollected():
            return thing.cr_frame
    if type(thing) is GeneratorType:
        with uncollected():
            return thing.gi_frame
    if type(thing) is AsyncGeneratorType:
        with uncollected():
            return thing.ag_frame
    return None


def variables_of(frame: FrameType, traced: Container[int] | None = None) -> Mapping[str, object]:
    """Return the local variables of a frame; empty while a trace function may be running for it.

    The call does not affect the frame. Up to Python 3.12 the frame of a function has one dictionary for its
    variables, which each read fills again. The frame keeps the dictionary until it ends, ``locals()`` returns
    the same dictionary to the function, and after each call of a trace function the interpreter sets the
    variables from the dictionary. To read many frames, call ``traced_now`` once and pass the result as
    ``traced``.
    """
    if sys.version_info >= (3, 13) or not _is_function(frame):
        return frame.f_locals
    if not works(FRAME_LOCALS):
        return {}
    if id(frame) in (traced_now(stacks()) if traced is None else traced):
        return {}
    return _variables(frame)


def _variables(frame: FrameType) -> Mapping[str, object]:
    with uncollected():
        found = frame.f_locals
    variables = dict(found)
    if sys.getrefcount(found) == _OURS:
        found.clear()
    return variables


_sharing: dict[int, weakref.ref[object]] = {}
"""The objects whose attributes are in a dictionary that other objects can share, by identity."""


def shared_attributes(owner: object) -> dict[str, object]:
    """Return the dictionary with the attributes of an object, for other objects to share.

    From Python 3.13 on, the object itself has the values of the dictionary that it first shows. When the
    collector frees the object, it may empty them although the dictionary is in use (CPython's gh-130327), so
    the object gets a dictionary of its own here.
    """
    values = vars(owner)
    if sys.version_info < (3, 13):
        return values
    key = id(owner)
    if key not in _sharing:
        values = dict(values)
        object.__setattr__(owner, "__dict__", values)
        _sharing[key] = weakref.ref(owner, lambda _: _sharing.pop(key, None))
    return values


def traced_now(running: Mapping[int, list[FrameType]]) -> set[int]:
    """Return the ``id`` of each frame in ``stacks()`` for which a trace function may be running."""
    if sys.version_info >= (3, 13):
        return set()
    own = get_ident()
    found: set[int] = set()
    for thread, stack in running.items():
        # A trace function in C has no frame; a trace function in Python has the traced frame as an argument.
        found.update(id(frame) for frame in stack if frame.f_trace is not None and thread != own)
        found.add(id(_traced_in(stack)))
    return found


def _traced_in(stack: list[FrameType]) -> FrameType | None:
    """Return the frame for which a trace function runs; the variables of that frame are not read.

    There is at most one. The calls of the trace function itself are newer, and are not traced.
    """
    return next((frame for newer, frame in itertools.pairwise(stack) if _was_given(newer, frame)), None)


def _was_given(called: FrameType, frame: FrameType) -> bool:
    if called.f_trace is not None or not _is_function(called):
        return False  # a trace function is not traced itself
    for value in _variables(called).values():
        if value is frame or (type(value) is tuple and any(item is frame for item in value)):
            return True
    return False


def _is_function(frame: FrameType) -> bool:
    return bool(frame.f_code.co_flags & inspect.CO_OPTIMIZED)


def _leaves_nothing() -> bool:
    """Return whether nothing keeps the value of a variable after the variable was read."""

    class Value: ...

    def hold() -> weakref.ref[Value]:
        held = Value()
        reference = weakref.ref(held)
        frame = sys._getframe()  # noqa: SLF001 - as in ``caller``
        found = frame.f_locals if sys.version_info >= (3, 13) else _variables(frame)
        assert found["held"] is held
        del held, found, frame
        return reference

    return hold()() is None


# ---- the collector


def make_young(things: Collection[object]) -> None:
    """Move ``things`` to the collector's youngest generation, however old or frozen they are.

    Its next collection frees those that only ``things`` themselves hold.
    """
    if works(YOUNG):
        _make_young(things)


def _make_young(things: Collection[object]) -> None:
    untrack, track = map(_change, ("PyObject_GC_UnTrack", "PyObject_GC_Track"))
    with uncollected():
        # In one run of C code: no other thread may track an object while it is untracked for a moment.
        old, young = tee(map(id, filter(gc.is_tracked, things)))
        deque(zip(map(untrack, old), map(track, young), strict=True), maxlen=0)


def collect_young() -> None:
    """Free young objects that only cycles hold; the number of older objects does not affect the cost."""
    gc.collect(0)


def collect_recent() -> None:
    """Free objects that only cycles hold, the young ones and those that have survived one collection.

    The survivors, and so all objects, are older than those that are created from now on.
    """
    gc.collect(1)


def objects_since() -> Iterator[object]:
    """Yield objects that were created after ``collect_recent``: all of them, unless many have followed."""
    yield from gc.get_objects(generation=0)
    if sys.version_info < (3, 14):  # there the next generation has objects of any age
        yield from gc.get_objects(generation=1)


def _change(name: str) -> Callable[[int], None]:
    """Return a function of the C API that takes an object by its address."""
    found = ctypes.pythonapi[name]  # a new function object: no other code can set its types
    found.argtypes, found.restype = [ctypes.c_void_p], None  # ctypes would ask an object for an attribute
    return found


def _is_young_after() -> bool:
    """Return whether an old object that is made young is in the youngest generation."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return False  # without a GIL the interpreter keeps its objects in another way
    return any(_makes_young() for _ in range(3))  # a collection in another thread may come between


def _makes_young() -> bool:
    thing: list[object] = []
    thing.append(thing)
    gc.collect(0)
    if any(each is thing for each in gc.get_objects(generation=0)):
        return False
    _make_young([thing])
    return any(each is thing for each in gc.get_objects(generation=0)) and gc.is_tracked(thing)


# ---- other threads

_PATIENCE = 0.05  # seconds; a main thread in a system call runs the function when the call returns
_Pending = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
_asked: list[object] = []  # the interpreter does not keep the functions that it will call


def in_main_thread(act: Callable[[], object]) -> None:
    """Make the main thread call ``act`` as soon as it runs Python code; wait for it for a moment."""
    if current_thread() is main_thread():
        act()
        return
    is_done = Event()

    def run(_: object) -> int:
        with contextlib.suppress(Exception):  # there is no caller to receive the error
            act()
        _asked.remove(pending)
        is_done.set()
        return 0

    if not works(MAIN_THREAD):
        return
    pending = _Pending(run)
    _asked.append(pending)
    if ctypes.pythonapi.Py_AddPendingCall(pending, None):
        _asked.remove(pending)  # the interpreter's queue is full; nothing can be done
        return
    is_done.wait(_PATIENCE)


def _takes_calls() -> bool:
    """Return whether the interpreter has the function; only other threads can try it."""
    return hasattr(ctypes.pythonapi, "Py_AddPendingCall")


class Interrupted(BaseException):
    """Raised inside a call that takes too long; a plugin's ``except Exception`` does not catch it."""


def raise_in(thread: threading.Thread, hindrance: Callable[[], str] = str) -> str:
    """Interrupt a thread as soon as it runs Python code, unless ``hindrance`` returns a reason.

    Return the reason, if there is one; then the thread goes on.
    """
    if not works(INTERRUPTION):
        return ""
    reason = hindrance()
    if not reason:
        _raise(Interrupted, thread.ident or 0)
        reason = hindrance()  # the thread may have gone on since the first look
        if reason:
            _raise(None, thread.ident or 0)
    return reason


def _raise(error: type[BaseException] | None, thread: int) -> int:
    """Raise an error in a thread; ``None`` takes back an error that has not been raised yet."""
    raised = None if error is None else ctypes.py_object(error)
    return int(ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), raised))


def _reaches_no_thread() -> bool:
    """Return whether the interpreter answers that it knows no thread 0."""
    return _raise(Interrupted, 0) == 0


class ThreadLocals:
    """The values that the thread that created this object has in objects of ``threading.local``."""

    def __init__(self) -> None:
        self._probe = threading.local()
        self._probe.is_there = True
        self._sentinel = next(
            (found for found in map(_sentinel, gc.get_referents(self._probe)) if found), None
        )

    def count(self) -> int:
        """Return the number of these objects that have a value in this thread."""
        return self._count() if works(THREAD_LOCALS) else next(_never_the_same)

    def _count(self) -> int:
        if self._sentinel is not None:  # from 3.13 on, each of them has a weak reference to it
            return weakref.getweakrefcount(self._sentinel)
        if sys.version_info >= (3, 13):
            raise NotImplementedError
        # Each has an entry in the thread's state.
        return len(cast("dict[object, object]", ctypes.cast(_thread_locals(), ctypes.py_object).value))


_never_the_same = itertools.count()
_thread_locals = ctypes.pythonapi.PyThreadState_GetDict
_thread_locals.restype = ctypes.c_void_p  # not py_object: the reference is borrowed


def _sentinel(part: object) -> object:
    """Return the object for this thread in the set of threads of a ``threading.local``, or ``None``."""
    references = cast("set[object]", part) if type(part) is set else set()
    return next((found() for found in references if isinstance(found, weakref.ref)), None)


def _counts_values() -> bool:
    """Return whether a value in one more ``threading.local`` counts, and its end."""
    locals_of_thread = ThreadLocals()
    before = locals_of_thread._count()  # noqa: SLF001 - count() would wait for this test
    other = threading.local()
    other.value = 1
    with_other = locals_of_thread._count()  # noqa: SLF001
    del other
    return (with_other, locals_of_thread._count()) == (before + 1, before)  # noqa: SLF001


# ---- imports under way

_IMPORT_SYSTEM: Final = "importlib._bootstrap"
_CARRIES_OUT: Final = {
    "_find_and_load": "name",
    "_lock_unlock_module": "name",  # waits for another thread's import
    "_exec": "spec",
    "exec_module": "module",
}
"""The functions of the import system that import a module, and their variable that tells which."""


def imports_in(stack: Iterable[FrameType]) -> Iterator[str]:
    """Yield the name of each module whose import is under way in the frames, in their order."""
    if not works(IMPORTS):
        return
    traced: Container[int] | None = None
    for frame in stack:
        variable = _CARRIES_OUT.get(frame.f_code.co_name)
        if variable and str(frame.f_globals.get("__name__")).startswith(_IMPORT_SYSTEM):
            traced = traced_now(stacks()) if traced is None else traced
            if name := _imported_as(variables_of(frame, traced).get(variable)):
                yield name


def _imported_as(thing: object) -> str:
    """Return the name of a module, of its spec, or the name itself; runs no code of the module."""
    if type(thing) is ModuleSpec:
        thing = thing.name
    elif type(thing) is ModuleType:
        thing = vars(thing).get("__name__")
    return thing if type(thing) is str else ""


def _shows_imports() -> bool:
    """Return whether the import system has these functions, with these variables."""
    system = sys.modules[_IMPORT_SYSTEM]
    loader = importlib.machinery.SourceFileLoader
    found = {name: getattr(system, name, None) or getattr(loader, name) for name in _CARRIES_OUT}
    return all(variable in found[name].__code__.co_varnames for name, variable in _CARRIES_OUT.items())


# ---- code

_Rename: TypeAlias = Callable[[CodeType, str], None]


def rename(code: CodeType, file: str) -> None:
    """Change the file name of code, and of the functions in it, in place; needs ``RENAMING``."""
    import _imp

    change: _Rename = getattr(_imp, "_fix_co_filename")  # noqa: B009 - typeshed does not know it
    change(code, file)


def _renames() -> bool:
    """Return whether the code of a function in renamed code has the new name."""
    code = compile("def function(): ...", "before", "exec")
    rename(code, "after")
    inner = next(each for each in code.co_consts if type(each) is CodeType)
    return (code.co_filename, inner.co_filename) == ("after", "after")


# ---- codecs


@functools.cache
def search_functions() -> list[object]:
    """Return the interpreter's list behind ``codecs.register``; empty if it is not found."""
    for holder in gc.get_referrers(encodings.search_function) if works(CODECS) else ():
        if type(holder) is list and all(map(callable, holder)):
            return holder
    return []


@functools.cache
def error_handlers() -> MutableMapping[Hashable, object] | None:
    """Return the interpreter's dictionary behind ``codecs.register_error``; ``None`` if it is not found."""
    for holder in gc.get_referrers(codecs.lookup_error("strict")) if works(CODECS) else ():
        if type(holder) is dict and {"strict", "ignore", "replace"} <= holder.keys():
            return cast("MutableMapping[Hashable, object]", holder)
    return None


def _finds_codecs() -> bool:
    """Return whether a registered search function appears in a list, and leaves it again."""

    def search(_: str) -> None: ...

    codecs.register(search)
    try:
        return any(
            type(each) is list and encodings.search_function in each for each in gc.get_referrers(search)
        )
    finally:
        codecs.unregister(search)


# ---- the functions of atexit


class _Lookout:
    """An object that ``atexit`` compares with all its functions: there is no other way to list them."""

    def __init__(self, is_wanted: Callable[[object], bool]) -> None:
        self._is_wanted = is_wanted

    def __eq__(self, other: object) -> bool:
        return self._is_wanted(other)

    __hash__ = None  # type: ignore[assignment]

    def __call__(self) -> None: ...


def exit_functions() -> list[object]:
    """Return the functions of ``atexit``."""
    return _exit_functions() if works(EXITS) else []


def _exit_functions() -> list[object]:
    found: list[object] = []

    def note(function: object) -> bool:
        found.append(function)
        return False

    atexit.unregister(_Lookout(note))
    return found


def remove_exit_function(number: int) -> None:
    """Remove the function with this ``id`` from ``atexit``."""
    if works(EXITS):
        atexit.unregister(_Lookout(lambda function: id(function) == number))


def _lists_exits() -> bool:
    """Return whether ``atexit`` compares with a function that it has."""

    def function() -> None: ...

    atexit.register(function)
    try:
        return any(each is function for each in _exit_functions())
    finally:
        atexit.unregister(function)


# ---- the versions of namespaces

_OFFSET = object.__basicsize__ + 8  # bytes before the field: the object header and the number of entries
_CHANGES = ("added = 1", "added = 2", "global added; added = 3", "del added", "globals().update(kept=1)")
_fields: dict[int, ctypes.c_uint64] = {}  # by address: they depend on nothing else


def version_reader(namespace: dict[str, object]) -> ctypes.c_uint64:
    """Return an object whose ``value`` is the namespace's version; the caller keeps the namespace alive."""
    address = id(namespace)
    field = _fields.get(address)
    if field is None:
        field = _fields[address] = ctypes.c_uint64.from_address(address + _OFFSET)
    return field


def _shows_changes() -> bool:
    """Return whether the version shows the changes that code makes to a namespace."""
    if sys.version_info >= (3, 14) or sys.maxsize < 1 << 32:
        return False
    namespace: dict[str, object] = {"kept": 0}
    seen = [version_reader(namespace).value]
    for change in _CHANGES:
        exec(change, namespace)  # noqa: S102 - module code changes its namespace in this way
        seen.append(version_reader(namespace).value)
    return len(set(seen)) == len(seen) and version_reader(namespace).value == seen[-1]


# ---- calls of chosen functions

_TOOL: Final = "hotload"
_FREE_TOOLS: Final = (4, 3)  # reserved for no kind of tool; Hypothesis takes 3, and warns if it is in use


class CallReports:
    """Reports each call of chosen functions and of the functions inside them; other code runs as before.

    From Python 3.12 on this uses ``sys.monitoring``, and also reports when a generator or coroutine goes on.
    Python 3.11 has no such events: the functions get code that begins with a call of the reporter.
    """

    def __init__(self, entered: Callable[[FrameType], object]) -> None:
        """Call ``entered`` with the new frame, in the calling thread; it must not raise."""
        self._entered = entered
        self._tool: int | None = None
        self._busy: set[int] = set()

    def begin(self, functions: Iterable[FunctionType]) -> tuple[list[CodeType], list[FunctionType]]:
        """Report the calls of ``functions`` from now on.

        Return the code objects that replace others, and the functions that cannot be watched now: all if
        each tool identifier is taken, and on Python 3.11 those that are running.
        """
        if not works(CALLS):
            return [], list(functions)
        if sys.version_info < (3, 12):
            return self._replace_code(functions)
        monitoring = sys.monitoring
        if self._tool is None:
            self._tool = next((each for each in _FREE_TOOLS if monitoring.get_tool(each) is None), None)
            if self._tool is None:
                return [], list(functions)
            monitoring.use_tool_id(self._tool, _TOOL)
            for event in (monitoring.events.PY_START, monitoring.events.PY_RESUME):
                monitoring.register_callback(self._tool, event, self._report)
        events = monitoring.events.PY_START | monitoring.events.PY_RESUME
        for function in functions:
            for code in nested(function.__code__):
                monitoring.set_local_events(self._tool, code, events)
        return [], []

    def end(self, functions: Iterable[FunctionType]) -> None:
        """Report nothing more, and free the tool identifier; ``functions`` are those that still exist."""
        if sys.version_info < (3, 12) or self._tool is None:
            return
        monitoring = sys.monitoring
        for function in functions:
            for code in nested(function.__code__):
                monitoring.set_local_events(self._tool, code, monitoring.events.NO_EVENTS)
        for event in (monitoring.events.PY_START, monitoring.events.PY_RESUME):
            monitoring.register_callback(self._tool, event, None)
        monitoring.free_tool_id(self._tool)
        self._tool = None

    def _report(self, *_: object) -> None:
        thread = get_ident()
        if thread in self._busy:
            return  # an audit hook among the functions: reading the frame calls it
        self._busy.add(thread)
        try:
            self._entered(sys._getframe(1))  # noqa: SLF001 - as in ``caller``
        except RecursionError:  # the function itself has one more call until its own error
            pass
        finally:
            self._busy.discard(thread)

    def _replace_code(self, functions: Iterable[FunctionType]) -> tuple[list[CodeType], list[FunctionType]]:
        running = {id(frame.f_code) for stack in stacks().values() for frame in stack}
        new, later = [], []
        for function in functions:
            if id(function.__code__) in running:  # code that looks for its own frames must find them
                later.append(function)
                continue
            function.__code__ = _reporting(function.__code__, self._report)
            new.append(function.__code__)
        return new, later


def nested(code: CodeType) -> Iterator[CodeType]:
    """Yield a code object and those of the functions inside it."""
    yield code
    for constant in code.co_consts:
        if type(constant) is CodeType:
            yield from nested(constant)


_BEFORE_START: Final = frozenset(
    {"MAKE_CELL", "COPY_FREE_VARS", "RETURN_GENERATOR", "POP_TOP", "EXTENDED_ARG"}
)
_UNIT: Final = 2  # bytes of an instruction; a cache has the same size
_CALL: Final = (
    ("PUSH_NULL", 0, 0),
    ("LOAD_CONST", -1, 0),
    ("PRECALL", 0, 1),
    ("CALL", 0, 4),
    ("POP_TOP", 0, 0),
)
"""The instructions of Python 3.11 that call a constant: name, argument and number of caches."""


def _reporting(code: CodeType, report: Callable[[], object]) -> CodeType:
    """Return code of Python 3.11 that calls ``report`` first, and so do the functions inside it.

    It is the same code otherwise, with the same lines: all its jumps are relative.
    """
    if code.co_name in ("<listcomp>", "<setcomp>", "<dictcomp>"):
        return code
    constants = tuple(_reporting(each, report) if type(each) is CodeType else each for each in code.co_consts)
    units = code.co_code
    at = 0
    while dis.opname[units[at]] in _BEFORE_START:
        at += _UNIT
    at += _UNIT
    if dis.opname[units[at - _UNIT]] != "RESUME":
        return code.replace(co_consts=constants)
    call = b"".join(
        _instruction(name, len(constants) if argument < 0 else argument) + bytes(_UNIT * caches)
        for name, argument, caches in _CALL
    )
    start, length = at // _UNIT, len(call) // _UNIT
    return code.replace(
        co_code=units[:at] + call + units[at:],
        co_consts=(*constants, report),
        co_stacksize=code.co_stacksize + 2,
        co_linetable=_with_gap(code.co_linetable, start, length),
        co_exceptiontable=_moved(code, start, length),
    )


def _instruction(name: str, argument: int) -> bytes:
    operation, extension = dis.opmap[name], dis.opmap["EXTENDED_ARG"]
    parts = argument.to_bytes(4, "big").lstrip(b"\0") or b"\0"
    return b"".join(bytes((extension, part)) for part in parts[:-1]) + bytes((operation, parts[-1]))


def _with_gap(table: bytes, start: int, length: int) -> bytes:
    """Return a table of lines in which ``length`` units from ``start`` on have no line.

    The first byte of each entry has the highest bit set; its lowest three are the number of units less one.
    """
    position = units = 0
    while units < start:
        units += (table[position] & 7) + 1
        position += 1
        while position < len(table) and not table[position] & 0x80:
            position += 1
    gap = bytes(0x80 | 15 << 3 | min(8, length - done) - 1 for done in range(0, length, 8))
    return table[:position] + gap + table[position:]


def _moved(code: CodeType, start: int, length: int) -> bytes:
    """Return the table of exception handlers after an insertion of ``length`` units at ``start``."""
    parse: Callable[[CodeType], list[_Handler]] = getattr(dis, "_parse_exception_table")  # noqa: B009
    table = bytearray()
    for each in parse(code):  # its offsets are in bytes
        begin, end, target = (
            offset // _UNIT + length * (offset // _UNIT >= start)
            for offset in (each.start, each.end, each.target)
        )
        for index, value in enumerate((begin, end - begin, target, each.depth << 1 | each.lasti)):
            table += _varint(value, 0x80 * (index == 0))
    return bytes(table)


class _Handler(NamedTuple):
    start: int
    end: int
    target: int
    depth: int
    lasti: bool


def _varint(value: int, mark: int) -> bytes:
    """Return a number in groups of six bits, the highest first; ``mark`` is added to the first byte."""
    groups = [value & 63]
    while value := value >> 6:
        groups.append(value & 63 | 64)
    groups[-1] |= mark
    return bytes(reversed(groups))


def _reports_calls() -> bool:
    """Return whether functions, closures and generators work as before and their calls are reported."""
    if sys.version_info >= (3, 12):
        return hasattr(sys.monitoring, "set_local_events")
    seen: list[str] = []
    reports = CallReports(lambda frame: seen.append(frame.f_code.co_name))
    function = cast("FunctionType", _probe)
    probe = FunctionType(_reporting(function.__code__, reports._report), globals())  # noqa: SLF001
    if probe(1) != 1 or seen != ["_probe", "inner", "count"]:
        return False
    try:
        probe(None)
    except TypeError as error:
        # No variable keeps the traceback: it would form a cycle with the frames of all callers.
        return list(_lines(error.__traceback__))[1:] == list(_lines(_failure().__traceback__))[1:]
    return False


def _probe(start: int) -> int:
    def count(limit: int) -> Iterator[int]:
        for number in range(limit):
            try:
                yield 1 // number
            except ZeroDivisionError:
                yield -number

    def inner(step: int) -> int:
        nonlocal start
        start += step
        return sum(count(start))

    return inner(2)


def _failure() -> TypeError:
    try:
        _probe(cast("int", None))
    except TypeError as error:
        return error
    raise AssertionError


def _lines(trace: TracebackType | None) -> Iterator[int]:
    while trace is not None:
        yield trace.tb_lineno
        trace = trace.tb_next


# ---- the table

YOUNG: Final = Trick(
    "young-collection", "free an old version without looking through the whole process", 14,
    "each retirement collects all objects of the process", _is_young_after,
)  # fmt: skip
VERSIONS: Final = Trick(
    "namespace-versions", "see from a number whether a module has changed (PEP 509)", 13,
    "each load compares the attributes of all modules", _shows_changes,
)  # fmt: skip
THREAD_LOCALS: Final = Trick(
    "thread-locals", "count the thread-local values of a thread", 14,
    "each load has its own thread", _counts_values,
)  # fmt: skip
INTERRUPTION: Final = Trick(
    "interruption", "raise an exception in another thread", 14,
    "a function that takes too long goes on in its thread", _reaches_no_thread,
)  # fmt: skip
IMPORTS: Final = Trick(
    "imports", "see which modules a thread is importing", 14,
    "a load that takes too long is also interrupted inside the import of a shared module", _shows_imports,
)  # fmt: skip
MAIN_THREAD: Final = Trick(
    "main-thread-calls", "call a function in the main thread while it runs other code", 14,
    "signal handlers that a plugin set stay if another thread unloads it", _takes_calls,
)  # fmt: skip
FRAME_LOCALS: Final = Trick(
    "frame-locals", "read variables of running code without keeping their values alive", 14,
    "variables are shown neither in tracebacks nor as holders of an old version", _leaves_nothing,
)  # fmt: skip
RENAMING: Final = Trick(
    "code-renaming", "change the file name of an old version's code", 14,
    "tracebacks of an old version show the new version's lines", _renames,
)  # fmt: skip
CODECS: Final = Trick(
    "codec-lists", "find the lists of codec search functions and error handlers", 14,
    "codecs that a plugin registers stay", _finds_codecs,
)  # fmt: skip
EXITS: Final = Trick(
    "exit-functions", "list the functions of atexit, which compares with all of them", 14,
    "functions that a plugin gives to atexit late stay until the program ends", _lists_exits,
)  # fmt: skip

CALLS: Final = Trick(
    "call-reports", "see which calls reach an old version, through its code objects", 14,
    "only old code that is running at a check is reported, not each call", _reports_calls,
)  # fmt: skip

TRICKS: Final = (
    YOUNG, VERSIONS, THREAD_LOCALS, INTERRUPTION, IMPORTS, MAIN_THREAD, FRAME_LOCALS, RENAMING, CODECS, EXITS,
    CALLS,
)  # fmt: skip
"""Without an entry: the frames of a thread and their callers, which every CPython has."""

HAS_VERSIONS = works(VERSIONS)
"""Whether a version shows each change of a namespace; otherwise the namespaces must be compared."""
