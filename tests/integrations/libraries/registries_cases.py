from __future__ import annotations

import asyncio
import threading
import warnings

import click
import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from click.testing import CliRunner
from prometheus_client import CollectorRegistry, generate_latest

from hotload_tui.core.model import PluginState
from hotload_tui.integrations import registries
from tests.integrations.conftest import Program
from tests.waiting import PATIENCE

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # discord.py imports audioop
    import discord
    from discord.ext import commands


def test_the_programs_command_returns(program: Program) -> None:
    """A command with the name of one of the program's takes its place only while the plugin is live."""
    program.tool = click.Group()
    program.tool.command("greet")(lambda: click.echo("of the program"))
    program.save(
        "import click\nfrom program import tool\n"
        "from hotload_tui.integrations.registries import own_command\n"
        "def register(ctx):\n"
        "    own_command(ctx, tool, click.Command('greet', callback=lambda: click.echo('hot')))\n"
    )
    assert CliRunner().invoke(program.tool, ["greet"]).output == "hot\n"
    program.running.manager.disable("it")
    assert CliRunner().invoke(program.tool, ["greet"]).output == "of the program\n"


def test_an_edit_of_a_function_does_not_delay_its_job(program: Program) -> None:
    """A job keeps its next run if only its function changes; another trigger schedules it again."""
    program.scheduler = scheduler = BackgroundScheduler()
    scheduler.start()
    source = (
        "from hotload_tui.integrations.registries import own_job\nfrom program import scheduler\n"
        "def tick(): return {version}\n"
        "def register(ctx):\n    own_job(ctx, scheduler, tick, 'interval', hours={hours}, id='tick')\n"
    )
    try:
        program.save(source.format(version=1, hours=1))
        first = scheduler.get_job("tick").next_run_time
        program.save(source.format(version=2, hours=1))
        job = scheduler.get_job("tick")
        assert (job.next_run_time, job.func()) == (first, 2)
        program.save(source.format(version=3, hours=2))
        job = scheduler.get_job("tick")
        assert (job.next_run_time > first, job.func()) == (True, 3)
    finally:
        scheduler.shutdown()


def test_a_job_may_come_before_its_scheduler_starts(program: Program) -> None:
    """Jobs of a scheduler that does not run yet are handed over, too."""
    program.scheduler = scheduler = BackgroundScheduler()
    source = (
        "from hotload_tui.integrations.registries import own_job\nfrom program import scheduler\n"
        "def register(ctx):\n"
        "    own_job(ctx, scheduler, lambda: {version}, 'interval', hours={version}, id='tick')\n"
    )
    program.save(source.format(version=1))
    program.save(source.format(version=2))
    scheduler.start()
    (job,) = scheduler.get_jobs()
    scheduler.shutdown()
    assert job.func() == 2


def test_a_metric_that_is_registered_at_import_names_the_way_out(program: Program) -> None:
    """A metric that was not made with ``registry=None`` is a fault that says so."""
    program.registry = CollectorRegistry()
    state = program.save(
        "from prometheus_client import Counter\nfrom program import registry\n"
        "from hotload_tui.integrations.registries import own_metric\n"
        "COUNT = Counter('count', '', registry=registry)\n"
        "def register(ctx):\n    own_metric(ctx, COUNT, registry)\n"
    )
    assert (state, "registry=None" in program.problem()) == (PluginState.FAIL, True)


def test_a_metric_keeps_its_place_if_the_next_one_is_taken(program: Program) -> None:
    """If a new version's metric has a name that other code has, the old version's metric stays."""
    program.registry = CollectorRegistry()
    source = (
        "from prometheus_client import Counter, Gauge\nfrom program import registry\n"
        "from hotload_tui.integrations.registries import own_metric\n"
        "COUNT = Counter('count', '{version}', registry=None)\n"
        "def register(ctx):\n    own_metric(ctx, COUNT, registry)\n"
    )
    program.save(source.format(version="a"))
    taken = "    own_metric(ctx, Gauge('count_total', '', registry=None), registry)\n"
    assert program.save(source.format(version="b") + taken) is PluginState.STALE
    assert "# HELP count_total a\n" in generate_latest(program.registry).decode()


COG = """
from discord.ext import commands
from hotload_tui.integrations.registries import own_cog
from program import bot

class Greetings(commands.Cog):
    async def cog_load(self):
        self.version = "{version}"

    @commands.command(name="{command}")
    async def greet(self, ctx): ...

def register(ctx):
    own_cog(ctx, bot, Greetings())
"""


def test_a_cog_may_come_before_its_bot_starts(program: Program) -> None:
    """Cogs of a bot that does not run are handed over; a cog that cannot be added leaves the old one."""
    program.bot = commands.Bot("!", intents=discord.Intents.none())
    program.save(COG.format(version="a", command="greet"))
    assert program.save(COG.format(version="b", command="greet")) is PluginState.OK
    assert vars(program.bot.cogs["Greetings"])["version"] == "b"
    assert program.save(COG.format(version="c", command="help")) is PluginState.STALE  # the bot's own
    assert vars(program.bot.cogs["Greetings"])["version"] == "b"
    assert set(program.bot.all_commands) == {"greet", "help"}
    program.running.manager.disable("it")
    assert set(program.bot.all_commands) == {"help"}


def test_a_reload_on_the_loop_of_the_bot_is_a_fault(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the bot's loop waits for the reload, the fault says how to reload; ``asyncio.to_thread`` works."""
    monkeypatch.setattr(registries, "_PATIENCE", 0.05)
    program.bot = commands.Bot("!", intents=discord.Intents.none())

    async def reload() -> list[PluginState]:
        async with program.bot:
            blocking = program.save(COG.format(version="a", command="greet"))
            assert "asyncio.to_thread" in program.problem()
            monkeypatch.setattr(registries, "_PATIENCE", PATIENCE)
            later = await asyncio.to_thread(program.save, COG.format(version="b", command="greet"))
            await asyncio.to_thread(program.running.manager.disable, "it")
            return [blocking, later]

    assert asyncio.run(reload()) == [PluginState.FAIL, PluginState.OK]
    assert threading.current_thread() is threading.main_thread()
