import linecache
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from hotload_tui import Config, Fault
from hotload_tui.core import faults
from hotload_tui.core.compiler import Compiler
from hotload_tui.core.errors import CompileError
from hotload_tui.core.faults import arguments_of, fault_of
from hotload_tui.core.limits import BoundedCall
from hotload_tui.core.source import read_source
from tests.conftest import Running, Workspace
from tests.waiting import PATIENCE


def raised_by(source: str, file: str = "<plugin>") -> Fault:
    """Run ``source`` as a plugin's module, call its function ``go``, and return the fault."""
    module = ModuleType("hotplug.greet.g1_0.plugin")
    module.__file__ = file
    exec(compile(source, file, "exec"), module.__dict__)
    try:
        module.go()
    except BaseException as error:
        return described(error, source, file)
    raise AssertionError("it raised nothing")


def described(error: BaseException, source: str = "", file: str = "<plugin>") -> Fault:
    """Return an exception's fault, and check that it is plain data."""
    fault = fault_of(error, phase="hook", plugin="greet", module_path="hotplug", text_of={file: source}.get)
    assert msgspec.json.decode(msgspec.json.encode(fault), type=Fault) == fault
    return fault


def test_a_fault_names_type_message_and_place() -> None:
    """A fault has the type, the text and the plugin's line with the failing expression."""
    fault = raised_by("def go():\n    word = None\n    return 1 + word.upper()\n")
    assert (fault.phase, fault.plugin, fault.type) == ("hook", "greet", "AttributeError")
    assert fault.message == "'NoneType' object has no attribute 'upper'"
    place = fault.place
    assert place is not None
    assert (place.file, place.line, place.function, place.owner) == ("<plugin>", 3, "go", "plugin")
    assert place.lines[place.line - place.first_line][place.column : place.end_column] == "word.upper"
    assert place.locals == (("word", "None"),)


def test_columns_count_characters_not_bytes() -> None:
    """The marked columns are correct after umlauts, CJK and emoji."""
    fault = raised_by("def go():\n    return ('äöü日本🎉', missing)\n")
    place = fault.place
    assert place is not None
    assert place.lines[1][place.column : place.end_column] == "missing"


@pytest.mark.parametrize(
    ("line", "marked"),
    [("x = 'ä' 'ü' zz", "zz"), ("'äöü'; return 1", "return 1"),
     ("日本 = (1", "("), ("'äöü'; f(x for x in y, 1)", "x for x in y")],
)  # fmt: skip
def test_a_syntax_error_is_marked_in_what_was_compiled(workspace: Workspace, line: str, marked: str) -> None:
    """The marked columns match the compiled bytes, even if the file on disk has changed since."""
    workspace["greet"] = f"y = 1\n{line}\n"
    root = workspace.plugins / "greet"
    source = read_source("greet", root)
    workspace["greet"] = "# something else\n" * 3
    with pytest.raises(CompileError) as caught:
        Compiler(workspace.compiled).compile(root, source)
    place = described(caught.value, f"y = 1\n{line}\n", str(root / "plugin.py")).place
    assert place is not None
    assert (place.line, place.lines[:2]) == (2, ("y = 1", line))
    assert place.lines[1][place.column : place.end_column] == marked


def test_a_syntax_error_of_another_text_shows_its_own_line() -> None:
    """A syntax error in a text that the plugin compiles itself shows the line of that text."""
    fault = raised_by("def go():\n    compile('a b', '<template>', 'exec')\n")
    assert fault.frames[-1].file == "<template>"
    assert fault.frames[-1].lines == ("a b",)


@pytest.mark.parametrize(
    "arguments",
    ["('x', ('f', 'not a number', [], 3))", "('x', ('f', 1, None, None))", "('x', (7, 1, 1, 'x'))", "()",
     "('x', ('f', -5, -5, 'x'))", "(7,)", "('x', ('f', 1, 10**6, 'x', 10**9, 10**9))"],
)  # fmt: skip
def test_an_odd_syntax_error_is_still_a_fault(arguments: str) -> None:
    """A SyntaxError with arbitrary arguments is still described as a fault."""
    assert raised_by(f"def go():\n    raise SyntaxError{arguments}\n").type == "SyntaxError"


def test_causes_contexts_and_groups_are_recorded() -> None:
    """A fault contains the causes, contexts and group members of its exception, with their relation."""
    fault = raised_by(
        "def go():\n"
        "    try:\n        int('x')\n"
        "    except ValueError as error:\n"
        "        try:\n            raise KeyError('k')\n"
        "        except KeyError as second:\n"
        "            raise ExceptionGroup('both', [OSError('a'), TypeError('b')]) from error\n"
    )
    assert fault.type == "ExceptionGroup"
    assert [(cause.type, cause.relation) for cause in fault.causes] == [
        ("OSError", "member"),
        ("TypeError", "member"),
        ("ValueError", "cause"),
    ]
    context = raised_by(
        "def go():\n    try:\n        1 / 0\n    except ZeroDivisionError:\n        missing\n"
    )
    assert [(cause.type, cause.relation) for cause in context.causes] == [("ZeroDivisionError", "context")]
    hidden = raised_by(
        "def go():\n    try:\n        1 / 0\n"
        "    except ZeroDivisionError:\n        raise KeyError from None\n"
    )
    assert hidden.causes == ()


def test_an_exception_that_is_its_own_cause_ends() -> None:
    """A circle of causes is followed once."""
    fault = raised_by(
        "def go():\n    a, b = KeyError('a'), KeyError('b')\n"
        "    a.__cause__, b.__cause__ = b, a\n    raise a\n"
    )
    assert len(fault.causes) == 1
    assert fault.causes[0].causes == ()


@pytest.mark.parametrize(
    ("data", "encoding", "hint"),
    [("naïve café".encode("cp1252"), "utf-8", "cp1252"), ("naïve".encode(), "ascii", "utf-8"),
     ("naïve".encode("utf-16"), "utf-8", "utf-16"),
     (b"\xef\xbb\xbf" + "naïve".encode(), "ascii", "utf-8-sig"),
     (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "utf-8", "")],
)  # fmt: skip
def test_bytes_that_cannot_be_decoded_name_an_encoding(data: bytes, encoding: str, hint: str) -> None:
    """A ``UnicodeDecodeError`` suggests an encoding in which the bytes are text, and none for other bytes."""
    fault = raised_by(f"def go():\n    {data!r}.decode({encoding!r})\n")
    assert fault.type == "UnicodeDecodeError"
    assert fault.notes == ((f'The bytes can be read as {hint}: pass encoding="{hint}"',) if hint else ())


def test_code_made_from_a_file_of_the_plugin_has_that_file_as_its_source(tmp_path: Path) -> None:
    """A frame of a template is the plugin's, with the template's lines; that of another's template is not."""
    template, foreign = tmp_path / "greet" / "page.html", tmp_path / "library" / "page.html"
    for file in (template, foreign):
        file.parent.mkdir()
        file.write_text("<html>\n{{ user }}\n")
    source = (
        "def go():\n"
        "    def render(file, then):\n"
        "        code = compile('\\n' + then, file, 'exec').replace(co_name='block')\n"
        "        exec(code, {'__name__': file, 'foreign': render})\n"
        f"    render({str(template)!r}, \"foreign({str(foreign)!r}, '1 / 0')\")\n"
    )
    fault = raised_by(source, str(template.with_name("plugin.py")))
    found = {frame.file: (frame.owner, frame.lines[frame.line - frame.first_line]) for frame in fault.frames}
    assert found[str(template)] == ("plugin", "{{ user }}")
    assert found[str(foreign)] == ("host", "{{ user }}")
    assert fault.frames[-1].function == "block", "the name that the engine gives it"


def test_endless_chains_and_groups_are_cut() -> None:
    """A fault of a chain or group of thousands of exceptions is cut, and a note says so."""
    chain = raised_by(
        "def go():\n    error = None\n    for n in range(5000):\n        new = KeyError(n)\n"
        "        new.__context__, error = error, new\n    raise error\n"
    )
    depth, last = 0, chain
    while last.causes:
        depth, last = depth + 1, last.causes[0]
    assert 5 <= depth <= 100
    assert "more" in last.notes[-1]
    group = raised_by("def go():\n    raise ExceptionGroup('many', [KeyError(n) for n in range(5000)])\n")
    assert len(group.causes) <= 100
    assert "more" in group.notes[-1]


def test_a_deep_recursion_is_shortened() -> None:
    """A deep recursion keeps 60 frames, and a note says how many frames are left out."""
    fault = raised_by("def go():\n    return go()\n")
    assert fault.type == "RecursionError"
    assert len(fault.frames) == 60
    assert "frames of a deep recursion are left out" in fault.notes[-1]
    assert [frame for frame in fault.frames if frame.function == "go"][-1].line == 2
    left_out = int(fault.notes[-1].split()[0])
    assert sum(frame.repeats for frame in fault.frames) == 60 + left_out


@pytest.mark.parametrize(
    ("source", "shown"),
    [("import zipfile\ndef go(): raise zipfile.BadZipFile\n", "zipfile.BadZipFile"),
     ("def go(): {}[1]\n", "KeyError"), ("class Own(Exception): pass\ndef go(): raise Own\n", "Own"),
     ("import json\ndef go(): json.loads('')\n", "json.decoder.JSONDecodeError")],
)  # fmt: skip
def test_the_name_of_an_exception_is_that_which_python_prints(source: str, shown: str) -> None:
    """An exception has its module before its name, but not a built-in one, and not one of a plugin."""
    assert raised_by(source).printed_type == shown


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [("key", "'EUR'", "'EUR'"), ("author", "1", "1"), ("monkey", "1", "1"), ("keyword", "1", "1"),
     ("signature", "1", "1"), ("apiKey", "1", "••• (masked)"), ("OPENAI_API_KEY", "1", "••• (masked)"),
     ("access_tokens", "1", "••• (masked)"), ("authorization", "1", "••• (masked)"),
     ("password", "'hunter2'", "••• (masked)"), ("api_key", "b'x'", "••• (masked)"), ("n", "7", "7"),
     ("settings", "{'token': 'abc', 'a': 1}", "{'token': ••• (masked), 'a': 1}"),
     ("large", "10 ** 5000", "<int of 16610 bits>"), ("text", "'\\ud800'", "'\\ud800'"),
     ("thing", "Thing()", "<hotplug.greet.g1_0.plugin.Thing object>"),
     ("things", "[Thing()]", "[<hotplug.greet.g1_0.plugin.Thing object>]"), ("true", "True", "True"),
     ("ordered", "{Thing(), 1} and frozenset()", "frozenset()")],
)  # fmt: skip
def test_locals_are_shown_without_running_their_code(name: str, value: str, shown: str) -> None:
    """Built-in values are shown in short form, objects by their type, and secrets are masked."""
    fault = raised_by(
        "class Thing:\n"
        "    def __repr__(self): raise SystemExit\n"
        "    def __lt__(self, other): raise SystemExit\n"
        f"def go():\n    {name} = {value}\n    raise KeyError\n"
    )
    assert fault.type == "KeyError"
    assert dict(fault.frames[-1].locals)[name] == shown


def test_locals_are_short_whatever_their_size() -> None:
    """A million items, megabytes of text and deep nesting each take one short line."""
    fault = raised_by(
        "def go():\n    many = set(range(10**6))\n    long = b'x' * 10**7\n    text = 'y' * 10**7\n"
        "    deep = []\n    for _ in range(10**4):\n        deep = [deep]\n    raise KeyError\n"
    )
    assert all(len(text) < 300 for _, text in fault.frames[-1].locals)
    assert len(fault.frames[-1].locals) == 5


def test_a_class_body_with_its_own_namespace_is_not_queried() -> None:
    """A class body whose namespace raises when it is listed does not spoil the fault."""
    fault = raised_by(
        "class Space(dict):\n    def items(self): raise SystemExit\n"
        "class Meta(type):\n    def __prepare__(*a): return Space()\n"
        "def go():\n    class C(metaclass=Meta):\n        1 / 0\n"
    )
    assert fault.type == "ZeroDivisionError"


@pytest.mark.parametrize("kind", ["KeyError", "SystemExit", "RecursionError"])
def test_an_exception_whose_text_raises_is_still_recorded(kind: str) -> None:
    """If ``__str__`` raises, the fault is kept and its message says so."""
    fault = raised_by(
        f"class Odd(Exception):\n    def __str__(self): raise {kind}\ndef go():\n    raise Odd\n"
    )
    assert fault.type == "Odd"
    assert f"__str__ raised {kind}" in fault.message


@pytest.mark.parametrize(
    "text", ["'\\ud800'", "'x' * 10**6", "type('S', (str,), {'__len__': lambda s: 1 / 0})('abc')"]
)
def test_odd_texts_become_plain_ones(text: str) -> None:
    """Lone surrogates, megabytes of text and odd string subclasses become plain, short text."""
    fault = raised_by(f"def go():\n    error = KeyError({text})\n    raise Exception({text})\n")
    assert type(fault.message) is str
    assert len(fault.message) < 5000


def test_notes_and_suggestions_are_kept() -> None:
    """Notes of the exception and the interpreter's "Did you mean" are in the fault's notes."""
    fault = raised_by(
        "def go():\n    error = KeyError()\n    error.add_note('see the manual')\n    raise error\n"
    )
    assert fault.notes == ("see the manual",)
    assert raised_by("def go():\n    value = 1\n    return valeu\n").notes == ("Did you mean: 'value'?",)
    assert raised_by("def go():\n    'a'.uper()\n").notes == ("Did you mean: 'upper'?",)
    odd = raised_by(
        "def go():\n    error = KeyError()\n    error.__notes__ = [1, 'x', None]\n    raise error\n"
    )
    assert odd.notes == ("x",)


def test_an_error_of_the_compiler_replaces_its_cause() -> None:
    """The fault of a CompileError describes its cause, or the error itself if it has none."""
    error = CompileError("greet", "plugin.py does not compile")
    error.__cause__ = ValueError("the reason")
    assert described(error).type == "ValueError"
    bare = described(CompileError("greet", "no register", file="<plugin>", line=2), "a\nb\nc")
    assert (bare.type, bare.frames[0].line, bare.frames[0].lines) == ("CompileError", 2, ("a", "b", "c"))


def test_frames_name_the_owner_of_their_code() -> None:
    """Each frame names its owner: the plugin, the standard library or the host."""
    fault = raised_by("import json\ndef go():\n    json.loads('{')\n")
    assert [frame.owner for frame in fault.frames][-1] == "library"
    assert fault.place is not None
    assert (fault.place.owner, fault.place.line) == ("plugin", 3)
    assert fault.frames[0].owner == "host"


BROKEN_LATER = (
    "def answer():\n    return [].pop()  # as loaded\n\n\ndef register(ctx):\n    ctx.hook('greet', answer)\n"
)


def test_the_lines_are_those_that_were_loaded(workspace: Workspace, run: Callable[[Config], Running]) -> None:
    """A fault shows the lines that ran, even if the file has been rewritten since."""
    workspace["greet"] = BROKEN_LATER
    running = run(workspace.config())
    workspace["greet"] = "# rewritten\n" * 9
    linecache.checkcache()
    assert running.host.call("greet") == []
    place = running.fault("greet").place
    assert place is not None
    assert place.line == 2
    assert place.lines[1] == "    return [].pop()  # as loaded"
    assert place.lines[1][place.column : place.end_column] == "[].pop()"


def test_a_source_in_another_encoding_is_shown_right(
    workspace: Workspace, run: Callable[[Config], Running]
) -> None:
    """The coding cookie decides how a fault's lines are decoded, as it does for the compiler."""
    workspace["greet"] = "# coding: latin-1\nx = 'é'\ndef register(ctx)\n".encode("latin-1")
    running = run(workspace.config())
    place = running.fault("greet").place
    assert place is not None
    assert (place.line, place.lines[1]) == (3, "x = 'é'")


def test_describing_keeps_nothing_alive() -> None:
    """A fault holds neither a frame nor an object of the exception."""
    fault = raised_by("class Big: ...\ndef go():\n    big = Big()\n    raise KeyError(big)\n")
    assert sys.getrefcount(fault) <= 3
    assert "Big object" in dict(fault.frames[-1].locals)["big"]


LOOP = "\n        while True: pass\n"
HOSTILE = {
    "its text loops": f"class E(Exception):\n    def __str__(self):{LOOP}raise E\n",
    "its text waits": (
        "import threading\nclass E(Exception):\n    def __str__(self):\n"
        "        threading.Event().wait()\nraise E\n"
    ),
    "its text interrupts": "class E(Exception):\n    def __str__(self): raise KeyboardInterrupt\nraise E\n",
    "its argument loops": f"class A:\n    def __repr__(self):{LOOP}raise KeyError(A())\n",
    "its second argument loops": f"class A:\n    def __repr__(self):{LOOP}raise ValueError(1, A())\n",
    "its metaclass interrupts": (
        "class M(type):\n    def __getattribute__(self, name): raise KeyboardInterrupt\n"
        "class E(Exception, metaclass=M): pass\nraise E\n"
    ),
    "its metaclass loops": (
        f"class M(type):\n    def __getattribute__(self, name):{LOOP}"
        "class E(Exception, metaclass=M): pass\nraise E\n"
    ),
    "its class interrupts": (
        "class E(Exception):\n    @property\n    def __class__(self): raise KeyboardInterrupt\nraise E\n"
    ),
    "its cause loops": f"class E(Exception):\n    @property\n    def __cause__(self):{LOOP}raise E\n",
    "its attributes loop": f"class E(Exception):\n    def __getattribute__(self, name):{LOOP}raise E\n",
    "its name loops": f"class E(ImportError):\n    @property\n    def name(self):{LOOP}raise E\n",
    "its message loops": f"class E(SyntaxError):\n    @property\n    def msg(self):{LOOP}raise E\n",
    "its members loop": (
        f"class E(ExceptionGroup):\n    @property\n    def exceptions(self):{LOOP}"
        "raise E('m', [ValueError()])\n"
    ),
    "its cause has a text that loops": (
        f"class E(Exception):\n    def __str__(self):{LOOP}raise ValueError('x') from E()\n"
    ),
    "a variable has a metaclass that interrupts": (
        "class M(type):\n    def __getattribute__(self, name): raise KeyboardInterrupt\n"
        "class A(metaclass=M): pass\ndef f():\n    a = A()\n    raise ValueError('x')\nf()\n"
    ),
    "its module's loader loops": (
        f"class L:\n    def get_source(self, name):{LOOP}__loader__, __file__ = L(), '<plugin>'\n"
        "raise ValueError('x')\n"
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_exception_is_described_in_time(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the code of an exception does, its fault has the type and the line, within a limit."""
    monkeypatch.setattr(faults, "DESCRIPTION", 0.05)
    source = HOSTILE[case]
    call = BoundedCall(lambda: raised_in_module(source), "describing")
    if not call.ends_within(PATIENCE):
        call.interrupt()
        raise AssertionError("the description does not end")
    assert call.error is None, repr(call.error)
    fault = call.value
    assert fault is not None
    assert fault.type in ("E", "KeyError", "ValueError")
    assert fault.frames[-1].owner == "plugin"
    assert fault.frames[-1].line == source.rstrip().count("\n") + (1 if not source.endswith("f()\n") else 0)


def raised_in_module(source: str) -> Fault:
    """Execute ``source`` as a plugin's module, and return the fault of what it raises."""
    module = ModuleType("hotplug.greet.g1_0.plugin")
    try:
        exec(compile(source, "<plugin>", "exec"), module.__dict__)
    except BaseException as error:
        return described(error, source)
    raise AssertionError("it raised nothing")


ARGUMENTS = {
    "loops": f"class A:\n    def __repr__(self):{LOOP}",
    "interrupts": "class A:\n    def __repr__(self): raise KeyboardInterrupt\n",
    "has a metaclass that interrupts": (
        "class M(type):\n    def __getattribute__(self, name): raise KeyboardInterrupt\n"
        "class A(metaclass=M): pass\n"
    ),
}


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_hostile_arguments_are_described_in_time(argument: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``repr`` that does not end, or interrupts, spoils only the description of that argument."""
    monkeypatch.setattr(faults, "DESCRIPTION", 0.05)
    names: dict[str, object] = {"__name__": "hotplug.greet.plugin"}
    exec(ARGUMENTS[argument], names)
    made = names["A"]
    assert callable(made)
    call = BoundedCall(lambda: arguments_of([made(), 2], {}, []), "describing")
    assert call.ends_within(PATIENCE)
    assert call.error is None, repr(call.error)
    assert call.value is not None
    assert call.value[0].startswith("<")
    assert call.value[1] == "2"
