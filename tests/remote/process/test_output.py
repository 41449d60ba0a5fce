import threading

from hotload_tui.core.model import PluginState
from tests.remote.process.conftest import Console

IMPORTS = "import ctypes, logging, os, subprocess, sys, threading, warnings\n"


def test_output_carries_the_name_of_its_plugin(console: Console) -> None:
    """Log lines of a plugin's prints, in any thread, and of ``ctx.log`` carry its name."""
    console.workspace["talk"] = (
        f"{IMPORTS}"
        "def answer(): print('in a handler')\n"
        "def later(): print('in a thread', file=sys.stderr)\n"
        "def register(ctx):\n"
        "    print('at load')\n"
        "    ctx.log.warning('logged')\n"
        "    threading.Thread(target=later).start()\n"
        "    ctx.hook('talk', answer)\n"
    )
    console.wait_for(lambda: console.state("talk") is PluginState.OK)
    console.manager.invoke("talk")
    console.wait_for_line("info talk: stdout: at load")
    console.wait_for_line("info talk: stdout: in a handler")
    console.wait_for_line("warning talk: stderr: in a thread")
    console.wait_for_line("warning talk: logged")


def test_output_past_python_arrives_without_a_name(console: Console) -> None:
    """Output of child processes and C code is in the log without a plugin's name."""
    console.workspace["talk"] = (
        f"{IMPORTS}"
        "def register(ctx):\n"
        "    os.system('echo from a process')\n"
        "    libc = ctypes.CDLL(None)\n"
        "    libc.puts(b'from C')\n"
        "    libc.fflush(None)\n"
    )
    console.wait_for_line("info : stdout: from a process")
    console.wait_for_line("info : stdout: from C")


def test_a_flood_is_bounded_and_counted(console: Console) -> None:
    """Of 100 MB of output the log keeps a bounded part and counts the dropped bytes, and the host goes on."""
    console.workspace["flood"] = (
        f"{IMPORTS}"
        "def flood():\n"
        "    for _ in range(100): os.write(1, b'x' * 99 * 1 + b'\\n' + (b'y' * 99 + b'\\n') * 9999)\n"
        "    return 'done'\n"
        "def register(ctx): ctx.hook('flood', flood)\n"
    )
    console.wait_for(lambda: console.state("flood") is PluginState.OK)
    asking = threading.Thread(target=console.manager.invoke, args=("flood",))
    asking.start()
    asking.join()
    line = console.wait_for_line("bytes of output were dropped")
    lines = console.manager.log()
    kept = sum(len(one.text) for one in lines if "yyy" in one.text)
    dropped = sum(int(one.text.split()[1].replace(",", "")) for one in lines if "were dropped" in one.text)
    assert kept < 10_000_000, line
    assert console.manager.invoke("good").values == ("good",)
    assert dropped > 50_000_000


def test_the_last_words_of_a_host_are_kept(console: Console) -> None:
    """The last output of a host that ends is in the log, before the line about the end."""
    console.workspace["last"] = f"{IMPORTS}def register(ctx):\n    print('farewell')\n    os._exit(1)\n"
    console.wait_for_line("error last: the host ended with exit status 1")
    said = console.said()
    assert said.index("last: stdout: farewell") < said.index("last: the host ended")


def test_a_plugin_that_reads_input_gets_the_end_of_file(console: Console) -> None:
    """Standard input is at its end, so ``input()`` in a plugin raises EOFError."""
    console.workspace["ask"] = "def register(ctx):\n    input('name? ')\n"
    console.wait_for(lambda: console.state("ask") is PluginState.FAIL)
    assert console.fault("ask").type == "EOFError"
