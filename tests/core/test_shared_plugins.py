import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hotload_tui import Config, PluginState, load_config
from hotload_tui.core.errors import ConfigError, RefusedError
from hotload_tui.core.events import PluginLoaded
from tests.conftest import Running, Workspace

Run = Callable[[Config], Running]

PRICES = '''"""What things cost."""


class Price:
    currency = {word!r}


def show(price):
    return price.currency
'''
MAKER = "from prices import Price\n\n\ndef register(ctx):\n    ctx.hook('make', Price)\n"
SELLER = """import prices
from lib.tax import rate


def sell(price):
    assert isinstance(price, prices.Price)
    return f"{prices.show(price)} {rate()}"


def register(ctx):
    ctx.hook("sell", sell)
"""
APART = "def register(ctx):\n    ctx.hook('apart', str)\n"


@pytest.fixture
def project(workspace: Workspace) -> Iterator[Workspace]:
    """Return a project with prices.py and lib/, two plugins that import them, and one that does not."""
    (workspace.root / "prices.py").write_text(PRICES.format(word="EUR"))
    (workspace.root / "lib").mkdir()
    (workspace.root / "lib" / "__init__.py").touch()
    say(workspace.root, "10%")
    workspace["maker"], workspace["seller"], workspace["apart"] = MAKER, SELLER, APART
    (workspace.root / "hotload.toml").write_text('shared = ["prices.py", "lib/"]\nenable_watch = false\n')
    yield workspace
    for name in [name for name in sys.modules if name.partition(".")[0] in ("prices", "lib")]:
        del sys.modules[name]


def say(root: Path, rate: str) -> Path:
    """Let the package lib give this rate."""
    path = root / "lib" / "tax.py"
    path.write_text(f"def rate():\n    return {rate!r}\n")
    return path


def sold(running: Running) -> object:
    """Return what one plugin says of what the other one made."""
    return running.host.first("sell", running.host.first("make"))


def test_an_edit_of_a_shared_module_reloads_the_plugins_that_import_it(project: Workspace, run: Run) -> None:
    """They have one version of it, change with it in one swap, and a mistake changes nothing."""
    running = run(load_config(project.root / "hotload.toml"))
    assert sold(running) == "EUR 10%"
    assert "no module named" not in running.said()
    assert {name: running.status(name).state for name in ("prices", "lib")} == dict.fromkeys(
        ("prices", "lib"), PluginState.OK
    )
    swaps = running.host.swaps
    running.manager.handle_file_change(say(project.root, "20%"))
    assert sold(running) == "EUR 20%"
    assert running.host.swaps == swaps + 1
    prices = project.root / "prices.py"
    prices.write_text(PRICES.format(word="USD"))
    running.manager.handle_file_change(prices)
    assert sold(running) == "USD 20%"
    assert running.host.swaps == swaps + 2
    prices.write_text("1 / 0\n")
    running.manager.handle_file_change(prices)
    assert running.status("prices").state is PluginState.STALE
    assert sold(running) == "USD 20%"
    numbers = {name: len(running.told(PluginLoaded, name)) for name in ("lib", "maker", "seller", "apart")}
    assert numbers == {"lib": 2, "maker": 2, "seller": 3, "apart": 1}
    prices.unlink()
    running.manager.rebuild("prices")
    assert "prices.py: create it, or correct shared in hotload.toml" in running.fault("prices").message
    assert sold(running) == "USD 20%"


def test_the_program_reaches_the_live_version_of_a_shared_module(project: Workspace, run: Run) -> None:
    """Its import by the real name, after the start, gives handles; its own folder need not be on the path."""
    running = run(load_config(project.root / "hotload.toml"))
    prices = importlib.import_module("prices")
    price, show = prices.Price, prices.show
    assert isinstance(running.host.first("make"), price)
    path = project.root / "prices.py"
    path.write_text(PRICES.format(word="USD"))
    running.manager.handle_file_change(path)
    assert show(running.host.first("make")) == "USD"
    assert running.host.first("sell", price()) == "USD 10%"
    assert importlib.import_module("lib.tax").rate() == "10%"


def test_a_copy_in_the_program_does_not_concern_the_plugins(
    project: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module's own row names the copy; plugins have the live version, so theirs asks for no restart."""
    monkeypatch.syspath_prepend(project.root)
    copy = importlib.import_module("prices")
    running = run(load_config(project.root / "hotload.toml"))
    path = project.root / "prices.py"
    path.write_text(PRICES.format(word="USD"))
    running.manager.handle_file_change(path)
    assert sold(running) == "USD 10%"
    assert copy.Price.currency == "EUR"
    (sentence,) = running.status("prices").outdated
    assert sentence.startswith("the program imported prices before hotload loaded it")
    assert running.status("seller").outdated == ()


def test_the_watcher_follows_shared_modules(project: Workspace, run: Run) -> None:
    """A save of a shared file or package is live like that of a plugin."""
    config = load_config(project.root / "hotload.toml", given={"enable_watch": True})
    running = run(config)
    running.wait_for(lambda: running.manager.snapshot().watcher.state == "watching")
    draft = project.root / "draft"
    draft.write_text(PRICES.format(word="USD"))
    draft.replace(project.root / "prices.py")
    say(project.root, "20%")
    running.wait_for(lambda: sold(running) == "USD 20%")


def test_what_a_shared_module_cannot_be(project: Workspace, run: Run) -> None:
    """The configuration names the entry that is wrong; a folder must be a package; nothing is renamed."""
    for shared, problem in (
        ("my-lib", r'shared = \["my-lib"\]: must have a name that an import can use, such as "prices\.py"'),
        ("json.py", "json is a part of Python itself"),
        (str(project.root), "contains .*plugins, which cannot be a part of a plugin"),
        ("other/maker.py", "maker is a plugin of the same name"),
    ):
        with pytest.raises(ConfigError, match=problem):
            project.config(shared=[shared])
    with pytest.raises(ConfigError, match="another entry has the name lib, too"):
        project.config(shared=["lib", "other/lib.py"])
    (project.root / "lib" / "__init__.py").unlink()
    (project.root / "prices.py").write_text("")
    running = run(load_config(project.root / "hotload.toml"))
    message = running.fault("lib").message
    assert message.startswith("no __init__.py in ")
    assert message.endswith("lib; add one, or remove it from shared in hotload.toml")
    assert running.fault("prices").message == "prices.py is empty; write code in it"
    assert running.status("seller").state is PluginState.WAIT
    with pytest.raises(RefusedError, match=r"enabled = false under \[plugins\.lib\]"):
        running.manager.disable("lib")


def test_an_installed_package_is_shared_by_its_name(
    project: Workspace, run: Run, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If there is no such file or folder beside the configuration, the import path counts."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.syspath_prepend(elsewhere)
    (project.root / "prices.py").rename(elsewhere / "prices.py")
    (project.root / "hotload.toml").write_text('shared = ["prices", "lib", "gone"]\nenable_watch = false\n')
    running = run(load_config(project.root / "hotload.toml"))
    assert running.status("prices").path == str(elsewhere / "prices.py")
    assert running.status("lib").path == str(project.root / "lib")
    message = running.fault("gone").message
    assert message.startswith(f"no file or folder {project.root / 'gone'}: create it")
    assert sold(running) == "EUR 10%"
    (elsewhere / "prices.py").write_text(PRICES.format(word="USD"))
    running.manager.handle_file_change(elsewhere / "prices.py")
    assert sold(running) == "USD 10%"
