import sys

import pytest

from hotload_tui.core.checks import unresolved_imports
from hotload_tui.core.compiler import Compiler
from hotload_tui.core.source import Source, read_source
from tests.conftest import Workspace

REGISTER = "\n\ndef register(ctx): ...\n"


def source_of(workspace: Workspace, name: str = "greet") -> Source:
    """Read a plugin of the workspace."""
    return read_source(name, workspace.plugins / name)


def missing(workspace: Workspace) -> list[tuple[str, int, str]]:
    """Return the unresolved imports of the plugin greet."""
    return [
        (each.file, each.line, each.module) for each in unresolved_imports(source_of(workspace), "hotplug")
    ]


def test_a_missing_module_is_named_with_its_line(workspace: Workspace) -> None:
    """A missing module is reported with file, line and name before anything runs."""
    workspace["greet"] = f"import os\nimport json, no_such_thing.part as n\n{REGISTER}"
    workspace["greet/deep/inner.py"] = "\ndef later():\n    from no_other_thing import x\n    return x\n"
    assert missing(workspace) == [
        ("deep/inner.py", 3, "no_other_thing"),
        ("plugin.py", 2, "no_such_thing.part"),
    ]


def test_a_build_says_which_imports_lead_nowhere(workspace: Workspace) -> None:
    """The build succeeds, and a warning names the unresolved import."""
    workspace["greet"] = f"import no_such_thing\n{REGISTER}"
    build = Compiler(workspace.compiled).compile(workspace.plugins / "greet")
    assert build.warnings == ("plugin.py:1: no module named no_such_thing is installed or in this plugin",)


@pytest.mark.parametrize(
    "line",
    [
        "import hotplug.other.plugin",
        "from hotplug.other import plugin",
        "import utils",
        "import utils.what_it_puts_there",
        "from . import utils",
        "from .utils import x",
        "from .deep.inner import x",
        "import deep.inner, utils",
        "from deep import inner",
        "import greet.utils",
        "from .native import x",
        "import json.decoder",
        "import msgspec",
        "import xml.etree.ElementTree as et",
    ],
)
def test_own_and_installed_modules_cause_no_warning(workspace: Workspace, line: str) -> None:
    """Imports of the plugin's own files and of installed packages cause no warning."""
    workspace["greet"] = f"{line}\n{REGISTER}"
    workspace["greet/utils.py"] = "x = 1\n"
    workspace["greet/deep/inner.py"] = "from ..utils import x\nfrom . import sibling\n"
    workspace["greet/deep/sibling.py"] = ""
    workspace["greet/native.abi3.so"] = "no module in truth"
    assert missing(workspace) == []


@pytest.mark.parametrize(
    ("line", "module"),
    [("from .nothing import x", ".nothing"), ("from .. import x", ".."), ("import deeper", "deeper")],
)
def test_a_file_that_is_not_there_is_named_as_written(workspace: Workspace, line: str, module: str) -> None:
    """An unresolved relative import is reported with its dots."""
    workspace["greet"] = f"{line}\n{REGISTER}"
    assert missing(workspace) == [("plugin.py", 1, module)]


@pytest.mark.parametrize(
    "guarded",
    [
        "try:\n    import no_such_thing\nexcept ImportError:\n    pass\n",
        "try:\n    import no_such_thing\nexcept:\n    pass\n",
        "import contextlib\nwith contextlib.suppress(ModuleNotFoundError):\n    import no_such_thing\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import no_such_thing\n",
        'import sys\nsys.path.append("/elsewhere")\nimport no_such_thing\n',
        '"""How to:\n\nimport no_such_thing\n"""\n',
    ],
)
def test_an_import_that_may_fail_is_left_alone(workspace: Workspace, guarded: str) -> None:
    """Guarded imports, type-checking imports and imports after a change of ``sys.path`` cause no warning."""
    workspace["greet"] = f"{guarded}\n{REGISTER}"
    assert missing(workspace) == []


def test_nothing_is_executed_to_find_out(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check does not import the packages that the plugin imports."""
    package = workspace.plugins.parent / "elsewhere" / "trap_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit(1)\n")
    monkeypatch.syspath_prepend(str(package.parent))
    workspace["greet"] = f"import trap_package.inner\n{REGISTER}"
    assert missing(workspace) == []
    assert "trap_package" not in sys.modules
