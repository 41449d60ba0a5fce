"""The shipped plugins, loaded and called as a user's program does it."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import pytest

from hotload_tui import Config, HookHost, HotloadManager
from hotload_tui.core.config import PluginConfig
from hotload_tui.core.events import AnyEvent, PluginRetired
from hotload_tui.core.model import PluginState

SHIPPED = Path(__file__).parents[1] / "plugins"
ACTIVE = {
    "code_colour",
    "code_reader",
    "folder_changes",
    "markdown_html",
    "secret_scanner",
    "text_stats",
    "todo_scanner",
}
AWS_KEY = "AKIA" + "IOSFODNN7EXAMPLE"  # in parts, like the next ones, because this file is scanned too
LOVELACE = "lovelace"
TODO, FIXME = "TODO", "FIXME"
Settings: TypeAlias = dict[str, dict[str, object]]
"""Settings by plugin."""
ANSI = re.compile(r"\x1b\[[\d;]*m")


class Project:
    """A copy of the shipped plugins, which its manager loads when it is entered."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.plugins = folder / "plugins"
        shutil.copytree(SHIPPED, self.plugins, ignore=shutil.ignore_patterns("__pycache__"))
        self.config = Config(
            runtime_dir=str(self.plugins),
            compiled_dir=str(folder / "compiled"),
            enable_watch=False,
            plugins={name: PluginConfig(settings=table) for name, table in settings.items()},
        )
        self.host = HookHost()
        self.manager = HotloadManager(self.host, self.config)

    def states(self) -> dict[str, PluginState]:
        """Return each plugin's state."""
        return {status.name: status.state for status in self.manager.snapshot().plugins}

    def fault(self, point: str, *args: object) -> str:
        """Call a hook point whose handlers all fail, and return the first fault."""
        called = self.manager.invoke(point, *args)
        assert not called.values
        return f"{called.faults[0].type}: {called.faults[0].message}"


OpenProject: TypeAlias = Callable[[Settings], Project]


@pytest.fixture
def open_project(tmp_path: Path) -> Iterator[OpenProject]:
    """Return a function that makes and starts a ``Project``."""
    with ExitStack() as running:

        def start(settings: Settings) -> Project:
            project = Project(tmp_path / "project", settings)
            running.enter_context(project.manager)
            return project

        yield start


@pytest.fixture
def project(open_project: OpenProject) -> Project:
    """Return the shipped plugins with default settings."""
    return open_project({})


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Return the shipped plugins with default settings, for tests that change none of them."""
    project = Project(tmp_path_factory.mktemp("shared"), {})
    with project.manager:
        yield project


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a small folder with typical files."""
    root = tmp_path / "folder"
    (root / "src").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / "README.md").write_text("# Cats\n\nThe cat sat on the mat. It was happy!\n")
    (root / "src" / "cat.py").write_text(
        f"x = 1  # {TODO}: feed the cat\n# {FIXME}(ada): purr */\ntodo = '{TODO}'\n"
    )
    (root / "src" / "settings.ini").write_text(f"key = {AWS_KEY}\nurl = postgres://ada:{LOVELACE}@db/cats\n")
    (root / "src" / "photo.png").write_bytes(b"\x89PNG\0# %s: no text" % TODO.encode())
    (root / ".git" / "config").write_text(f"# {TODO}: not mine {AWS_KEY}\n")
    return root


def test_all_are_ok_and_one_is_off(shared: Project) -> None:
    """Each shipped plugin loads, and the one with an underscore is off."""
    assert shared.states() == dict.fromkeys(ACTIVE, PluginState.OK) | {"size_log": PluginState.OFF}


def test_reloading_leaves_nothing_behind(project: Project, folder: Path) -> None:
    """After calls and a reload of every plugin, all old generations are freed."""
    retired: dict[str, list[str]] = {name: [] for name in ACTIVE}

    def note(event: AnyEvent) -> None:
        if isinstance(event, PluginRetired):
            retired[event.name].append(event.memory)

    project.manager.subscribe(note)
    for point in ("analyse", "changes", "scan"):
        project.host.call(point, str(folder))
    project.manager.rebuild(force=True)
    project.manager.stop()
    assert retired == {name: ["freed", "freed"] for name in ACTIVE}


def test_descriptions_and_readme(shared: Project) -> None:
    """Each plugin's description says what it shows, and the README has a row for each plugin."""
    rows = set(re.findall(r"^\| `_?(\w+)`", (SHIPPED / "README.md").read_text(), re.MULTILINE))
    assert rows == ACTIVE | {"size_log"}
    for name in ACTIVE:
        assert "; shows " in shared.manager.detail(name).description


def test_template_works_at_once(project: Project) -> None:
    """A plugin from the template answers a call of its name without an edit."""
    assert project.manager.new("hello").state is PluginState.OK
    assert project.host.call("hello", "Ada") == ["Hello, Ada!"]
    assert len((SHIPPED / "TEMPLATE.py").read_text().splitlines()) <= 40


def test_text_stats_of_a_file(shared: Project, folder: Path) -> None:
    """``text_stats`` counts words and sentences of a text, and calculates Flesch's figures."""
    assert shared.host.call("analyse", str(folder / "README.md")) == [
        {
            "words": 10,
            "sentences": 3,
            "longest_sentence": 6,
            "minutes": 0.0,
            "reading_ease": round(206.835 - 1.015 * 10 / 3 - 84.6 * 11 / 10, 1),
            "grade": round(0.39 * 10 / 3 + 11.8 * 11 / 10 - 15.59, 1),
        }
    ]


def test_text_stats_of_a_folder(shared: Project, folder: Path) -> None:
    """A folder gives the figures of each text in it, without counting code, addresses or empty texts."""
    (folder / "empty.txt").write_text("")
    (folder / "code.rst").write_text("See `rm -rf` at https://example.org/a.\n\n```\nx = 1\n```\n")
    [figures] = shared.host.call("analyse", str(folder))
    assert isinstance(figures, dict)
    assert {name: figures[name]["words"] for name in figures} == {
        "README.md": 10,
        "code.rst": 2,
        "empty.txt": 0,
    }


def test_text_stats_without_a_file(shared: Project, tmp_path: Path) -> None:
    """A missing path is a FileNotFoundError."""
    assert shared.fault("analyse", str(tmp_path / "no.md")).startswith("FileNotFoundError: ")


@pytest.mark.parametrize(
    ("markdown", "html"),
    [
        ("## A *b* ##\ntext\n", "<h2>A <em>b</em></h2>\n<p>text</p>"),
        ("1 < 2 & `<b>`", "<p>1 &lt; 2 &amp; <code>&lt;b&gt;</code></p>"),
        ("**a _b_** ~~c~~ \\*d\\* a_b_c", "<p><strong>a <em>b</em></strong> <del>c</del> *d* a_b_c</p>"),
        ("[a](b.html) ![c](d.png)", '<p><a href="b.html">a</a> <img src="d.png" alt="c"></p>'),
        ("[a](javascript:alert)", '<p><a href="#">a</a></p>'),
        ("- a\n  - b\n- c", "<ul>\n<li>a\n<ul>\n<li>b</li>\n</ul></li>\n<li>c</li>\n</ul>"),
        ("3. a\n\n4. b", '<ol start="3">\n<li><p>a</p></li>\n<li><p>b</p></li>\n</ol>'),
        ("> a\n> - b.md", "<blockquote>\n<p>a</p>\n<ul>\n<li>b.md</li>\n</ul>\n</blockquote>"),
        (
            "|a|b|\n|-|-|\n|1|2|",
            "<table>\n<tr><th>a</th><th>b</th></tr>\n<tr><td>1</td><td>2</td></tr>\n</table>",
        ),
        ("```\n<x> *y*\n```\n***", "<pre><code>&lt;x&gt; *y*\n</code></pre>\n<hr>"),
        ("", ""),
    ],
)
def test_markdown_html(shared: Project, markdown: str, html: str) -> None:
    """Each construct of Markdown becomes its HTML element, and plain text is escaped."""
    assert shared.host.call("render", markdown) == [html]


def test_markdown_html_of_a_file(shared: Project, tmp_path: Path) -> None:
    """An argument that ends in .md is read as a file, and its code blocks are coloured."""
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n```python\nimport os\n```\n", "utf-8")
    [html] = shared.host.call("render", str(page))
    assert str(html).startswith('<h1>Page</h1>\n<div class="highlight"')
    assert 'style="color: ' in str(html)
    assert shared.fault("render", str(tmp_path / "no.md")).startswith("FileNotFoundError: ")


def test_scan_asks_both_scanners(shared: Project, folder: Path) -> None:
    """One call returns the secrets, shortened, and the comments, without binary files and .git."""
    secrets, todos = shared.host.call("scan", str(folder))
    ini, cat = folder / "src" / "settings.ini", folder / "src" / "cat.py"
    assert str(secrets).splitlines() == [
        f"{ini}:1: AWS access key: AKIA…",
        f"{ini}:2: password in an address: love…",
        "secrets found by 11 rules: 2",
    ]
    assert str(todos).splitlines() == [
        f"{cat}:1: TODO feed the cat",
        f"{cat}:2: FIXME (ada): purr",
        "1 TODO, 1 FIXME in 3 files",
    ]


def test_scan_of_no_folder(shared: Project, tmp_path: Path) -> None:
    """Both scanners refuse a path that is not a folder."""
    assert (
        shared.fault("scan", str(tmp_path / "no")) == f"NotADirectoryError: {tmp_path / 'no'}: not a folder"
    )


def test_shipped_files_pass_their_own_scan(shared: Project) -> None:
    """The shipped plugins contain neither a secret nor an open TODO."""
    secrets, todos = shared.host.call("scan", str(shared.plugins))
    assert str(secrets) == "secrets found by 11 rules: 0"
    assert str(todos).startswith("no TODO in ")


def test_todo_scanner_takes_settings(open_project: OpenProject, folder: Path) -> None:
    """Tags and skipped folders can be set in the plugin's settings."""
    (folder / "README.md").write_text("- BUG: it barks\n")
    project = open_project({"todo_scanner": {"tags": "BUG", "skipped": "src"}})
    _, todos = project.host.call("scan", str(folder))
    assert todos == f"{folder / 'README.md'}:1: BUG it barks\n1 BUG in 1 files"


def test_secret_scanner_reads_its_rules_again(project: Project, folder: Path) -> None:
    """A changed data file reloads the plugin with the new rules."""
    (project.plugins / "secret_scanner" / "rules.toml").write_text("cat = 'c.t'\n")
    [status] = project.manager.rebuild("secret_scanner")
    secrets, _ = project.host.call("scan", str(folder))
    assert status.generation == 2
    assert f"{folder / 'README.md'}:3: cat: cat…\n" in str(secrets)
    assert str(secrets).endswith("found by 1 rules: 3")


def test_pipe_of_reader_and_colour(shared: Project, tmp_path: Path) -> None:
    """In a pipe the reader normalizes a file of any encoding, and the next step colours it."""
    source = tmp_path / "old.py"
    source.write_bytes(b"# coding: latin-1\r\nif 1:\r\n\tname = 'Zo\xeb'  \r\n\r\n")
    coloured = str(shared.host.pipe("colour", str(source)))
    assert coloured != ANSI.sub("", coloured) == "# coding: latin-1\nif 1:\n    name = 'Zoë'\n"


def test_reader_refuses_what_is_no_text(shared: Project, folder: Path) -> None:
    """A binary file is a fault that names the file."""
    photo = folder / "src" / "photo.png"
    assert shared.manager.invoke("colour", str(photo)).faults[0].message == f"{photo}: not a text file"


def test_colour_works_without_the_reader(open_project: OpenProject, tmp_path: Path) -> None:
    """Without the reader, ``code_colour`` reads the file itself, in the format and style of its settings."""
    project = open_project({"code_colour": {"format": "html", "style": "monokai"}})
    project.manager.disable("code_reader")
    (tmp_path / "a.unknown").write_text("<plain>\n")
    html = str(project.host.pipe("colour", str(tmp_path / "a.unknown")))
    assert html.startswith('<div class="highlight" style="background: #272822">')
    assert "&lt;plain&gt;" in html


def test_colour_refuses_a_wrong_setting(open_project: OpenProject) -> None:
    """A wrong setting fails the load with the allowed values, and the other plugins run."""
    project = open_project({"code_colour": {"format": "pdf"}})
    fault = project.manager.detail("code_colour").status.fault
    assert project.states() == dict.fromkeys(ACTIVE, PluginState.OK) | {
        "code_colour": PluginState.FAIL,
        "size_log": PluginState.OFF,
    }
    assert fault is not None
    assert fault.message == "format = 'pdf': must be one of terminal, html"


def test_folder_changes_remembers_across_reloads(project: Project, folder: Path) -> None:
    """The state before a reload is compared with the folder at the next call after it."""
    [first] = project.host.call("changes", str(folder))
    assert isinstance(first, dict)
    assert (first["since"], first["files"], first["added"]) == (None, 4, [])

    plugin = project.plugins / "folder_changes" / "plugin.py"
    plugin.write_text(plugin.read_text("utf-8") + "\n# saved again\n", "utf-8")
    [status] = project.manager.rebuild("folder_changes")
    assert status.generation == 2

    (folder / "README.md").write_text("# Dogs\n")
    (folder / "new.txt").write_text("new")
    (folder / "src" / "cat.py").unlink()
    [second] = project.host.call("changes", str(folder))
    assert isinstance(second, dict)
    assert second["since"] is not None
    assert (second["added"], second["changed"], second["removed"]) == (
        ["new.txt"],
        ["README.md"],
        ["src/cat.py"],
    )
    assert set(second["newest"][:2]) == {"README.md", "new.txt"}


def test_size_log_ends_its_thread(open_project: OpenProject, folder: Path) -> None:
    """The enabled plugin measures a folder and runs a thread, which ends when the plugin is disabled."""
    project = open_project({"size_log": {"folder": str(folder), "seconds": 3600}})
    assert project.manager.enable("size_log").state is PluginState.OK
    assert project.host.call("size", str(folder / "src")) == [
        sum(file.stat().st_size for file in (folder / "src").iterdir())
    ]
    [thread] = [thread for thread in threading.enumerate() if thread.name == "size_log"]
    project.manager.disable("size_log")
    thread.join(timeout=10)
    assert not thread.is_alive()
