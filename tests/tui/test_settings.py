from __future__ import annotations

from hotload_tui.core.config_files import Resolved, resolve
from hotload_tui.core.manager.manager import follow_config
from tests.conftest import Workspace
from tests.tui.console import Run, console


async def test_a_comma_shows_each_setting_and_where_it_came_from(workspace: Workspace, run: Run) -> None:
    """The settings show each value with its file, variable or default, and escape closes them."""
    file = workspace.root / "hotload.toml"
    file.write_text("load_timeout = 3.0\n[plugins.one]\npriority = 7\n")

    def settings() -> Resolved:
        return resolve(file, environment={"HOTLOAD_DRAIN_TIMEOUT": "1.5"})

    async with console(run(workspace.config()).manager, workspace.root, (120, 36), settings=settings) as it:
        await it.press("comma")
        await it.shows("plugins.one.priority  7")
        lines = [" ".join(line.split()).strip("┃│ ") for line in it.text.splitlines()]
        wanted = ("load_timeout 3.0", "drain_timeout 1.5", "sweep_interval 5.0")
        found = [next((line for line in lines if name in line), "") for name in wanted]
        assert "hotload.toml" in found[0]
        assert "HOTLOAD_DRAIN_TIMEOUT" in found[1]
        assert "default" in found[2]
        await it.press("escape")
        await it.until(lambda: "load_timeout" not in it.text)


async def test_a_broken_file_is_shown_in_the_status_line_and_in_full(workspace: Workspace, run: Run) -> None:
    """A mistake in hotload.toml shows in the status line, and with its line in the settings, until fixed."""
    file = workspace.root / "hotload.toml"
    file.write_text("[plugins.one]\npriority = 7\n")
    running = run(workspace.config())
    undo = follow_config(running.manager, file)

    def settings() -> Resolved:
        return resolve(file)

    try:
        async with console(running.manager, workspace.root, settings=settings) as it:
            await it.shows("watching")
            file.write_text("[plugins.one]\npriority = = 7\n")
            await it.shows("! settings")
            await it.press("comma")
            await it.shows("line 2", "not valid TOML", "What was read before holds")
            await it.press("escape")
            file.write_text("[plugins.one]\npriority = 8\n")
            await it.until(lambda: "! settings" not in it.text)
    finally:
        undo()


async def test_a_wrong_key_changes_no_key_and_all_else_applies(workspace: Workspace, run: Run) -> None:
    """A wrong key in hotload.toml is shown in the settings, and the other changes of the file apply."""
    workspace["one"] = "def register(ctx):\n    ctx.hook('one', print)\n"
    file = workspace.root / "hotload.toml"
    file.write_text("")
    running = run(workspace.config())
    undo = follow_config(running.manager, file, interval=0.01)
    try:
        async with console(running.manager, workspace.root, settings=lambda: resolve(file)) as it:
            await it.until(lambda: "+ ok" in it.row("one"))
            await it.press("3", "v")
            file.with_suffix(".new").write_text('[keys]\nquitt = "x"\n[plugins.one]\npriority = 7\n')
            file.with_suffix(".new").replace(file)
            await it.shows("keys has changed: a console reads it when it is opened again", "one:7")
            await it.press("comma")
            await it.shows("[keys] quitt: no such binding", "version, wrap", "The keys are as they were")
            await it.shows("runtime_dir")
    finally:
        undo()


async def test_a_program_that_made_its_configuration_itself_is_named(workspace: Workspace, run: Run) -> None:
    """Without configuration files, the settings key says why it shows nothing."""
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.press("comma")
        await it.shows("made its configuration itself")
