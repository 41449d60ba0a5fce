"""Each command once in its own process, as a user starts it, with a host and without."""

import importlib.metadata

from tests.cli.command import Hotload
from tests.conftest import Workspace

GREET = "def register(ctx):\n    ctx.hook('greet', lambda name='you': f'Hello, {name}')\n"


def test_a_day_without_a_host(workspace: Workspace, hotload: Hotload) -> None:
    """Without a host, commands print results on standard output, and everything else on standard error."""
    assert hotload.process("new", "greet") == (0, "plugins/greet\n", "")
    workspace["greet"] = GREET
    for words, out, err in [
        ("--version", f"hotload {importlib.metadata.version('hotload-tui')}", ""),
        ("status", "? new  greet", "no host runs on plugins/"),
        ("plan", "1 to load", "this is what a start would do"),
        ("build", "greet", ""),
        ("check", "+ ok   greet   1 ", ""),
        ("call greet Ada", "Hello, Ada\n", ""),
        ("disable greet", "", "greet is disabled (plugins/_greet)\n"),
        ("enable greet", "", "greet is enabled (plugins/greet)\n"),
        ("clean greet", "", "artifacts were removed\n"),
        ("doctor", "plugins: 1 plugin", ""),
    ]:
        done = hotload.process(*words.split())
        assert (out in done.out, err in done.err, bool(done.out)) == (True, True, bool(out)), (words, done)
        assert done.code == 0 or words == "doctor", done  # doctor may find something in this environment
    done = hotload.process("logs")
    assert (done.code, done.out, "'logs' needs a host" in done.err) == (3, "", True)


def test_a_day_with_a_host(workspace: Workspace, hotload: Hotload) -> None:
    """Commands reach the host of the same folder in another process, with or without its pid."""
    workspace["greet"] = GREET
    host = hotload.host()
    pid = host.process.pid
    for words, out, err in [
        ("status", "+ ok   greet   1 ", f"host {pid} on plugins/"),
        (f"--host {pid} status", "+ ok   greet   1 ", f"host {pid} on plugins/"),
        ("reload", "+ ok   greet   2 ", ""),
        ("rollback greet 1", "", "greet: generation 1 is the same version as generation 2"),
        ("release greet", "+ ok   greet", ""),
        ("call greet Ada", "Hello, Ada\n", ""),
        ("disable greet", "", "greet is disabled"),
        ("undo", "", "undone: disable greet"),
        ("pause", "", "paused: hotload keeps changes"),
        ("plan", "1 stays as it is", ""),
        ("resume", "", "nothing had changed"),
        ("logs greet", "greet: loaded generation 2", ""),
    ]:
        done = hotload.process(*words.split())
        assert (done.code, out in done.out, err in done.err) == (0, True, True), (words, done)
    (workspace.root / "hotload.toml").write_text("debounce_time = 'soon'\n")
    done = hotload.process("status")
    assert (done.code, "keeps its previous configuration" in done.err) == (0, True)
