import threading
from collections.abc import Callable

import pytest

from hotload_tui.core.errors import RefusedError, RegisterError
from hotload_tui.core.runtime.context import KeptState, PluginContext, StateMapping


def context(
    settings: dict[str, object] | None = None, *, hook_point: str | None = None, priority: int | None = None
) -> PluginContext:
    """Return the context of a first load."""
    state = StateMapping(KeptState())
    return PluginContext(
        "greet", 1, state=state, settings=settings or {}, hook_point=hook_point, priority=priority
    )


def greet() -> str:
    """Say hello."""
    return "Hello"


def staged(ctx: PluginContext) -> list[tuple[str, object, int]]:
    """Return what the plugin registered."""
    return [(hook.point, hook.call, hook.priority) for hook in ctx.staged]


def test_the_three_ways_to_register_a_handler() -> None:
    """``ctx.hook`` works by name, as a decorator and at the configured point, and returns the handler."""
    ctx = context(hook_point="hello")
    assert ctx.hook("greet", greet) is greet
    assert ctx.hook("greet", priority=5)(greet) is greet
    assert ctx.hook(greet) is greet
    assert staged(ctx) == [("greet", greet, 100), ("greet", greet, 5), ("hello", greet, 100)]


def test_the_priority_of_the_call_wins_over_the_configured_one() -> None:
    """The priority in code overrides the configured one."""
    ctx = context(priority=7)
    ctx.hook("greet", greet)
    ctx.hook("greet", greet, priority=0)
    assert [hook[2] for hook in staged(ctx)] == [7, 0]


@pytest.mark.parametrize(
    ("misuse", "message"),
    [(lambda ctx: ctx.hook("greet", 1), "cannot be called: it is a int"),
     (lambda ctx: ctx.hook("", greet), "cannot name a hook point"),
     (lambda ctx: ctx.hook(greet), "hotload.toml"), (lambda ctx: ctx.hook(1, greet), "named by a string"),
     (lambda ctx: ctx.hook("greet", greet, priority="high"), "whole number"),
     (lambda ctx: ctx.hook("greet", greet, priority=True), "whole number"),
     (lambda ctx: ctx.hook("greet")(None), "cannot be called"),
     (lambda ctx: ctx.on_unload(None), "needs a function"),
     (lambda ctx: ctx.on_unload(_async_close), "nobody would await"),
     (lambda ctx: ctx.hook("a\ud800", greet), "cannot name")],
)  # fmt: skip
def test_misuse_says_what_is_wrong(misuse: Callable[[PluginContext], object], message: str) -> None:
    """A registration that cannot work is refused while register runs, not at the first call."""
    with pytest.raises(RegisterError, match=message):
        misuse(context())


async def _async_close() -> None: ...


def test_hooks_are_registered_only_while_register_runs() -> None:
    """A context that a plugin kept refuses registrations after register has ended."""
    ctx = context()
    ctx.seal()
    with pytest.raises(RefusedError, match="only while register"):
        ctx.hook("greet", greet)
    with pytest.raises(RefusedError, match="only while register"):
        ctx.on_unload(greet)


def test_settings_are_frozen_at_every_depth() -> None:
    """A plugin can change neither its settings nor the lists and tables inside them."""
    table: dict[str, object] = {"a": {"b": [1, {"c": 2}]}}
    ctx = context(table)
    assert ctx.settings["a"] == {"b": (1, {"c": 2})}
    with pytest.raises(TypeError):
        ctx.settings["a"] = 1  # type: ignore[index]
    with pytest.raises(TypeError):
        ctx.settings["a"]["b"] = 1


def test_state_is_written_to_an_overlay_until_commit() -> None:
    """State changes reach the shared state only at the commit, and key by key."""
    base: dict[str, object] = {"kept": 1, "deleted": 2, "changed": 3}
    state = StateMapping(KeptState(base))
    state["new"] = 4
    state["changed"] = 5
    del state["deleted"]
    assert dict(state) == {"kept": 1, "changed": 5, "new": 4}
    assert (len(state), "deleted" in state, base) == (3, False, {"kept": 1, "deleted": 2, "changed": 3})
    base["kept"] = 10  # a write of the old generation during the load
    state.commit()
    assert base == {"kept": 10, "changed": 5, "new": 4}
    state["later"] = 6
    del state["new"]
    assert base == {"kept": 10, "changed": 5, "later": 6}


def test_state_is_a_mapping_like_any_other() -> None:
    """setdefault, pop, get, and errors for missing keys work before and after the swap."""
    for is_committed in (False, True):
        state = StateMapping(KeptState({"a": 1}))
        if is_committed:
            state.commit()
        assert state.setdefault("b", 2) == 2
        assert state.pop("a") == 1
        assert state.get("a") is None
        state["a"] = 3
        assert sorted(state.items()) == [("a", 3), ("b", 2)]
        assert repr(state) in ("{'b': 2, 'a': 3}", "{'a': 3, 'b': 2}")
        with pytest.raises(KeyError):
            del state["missing"]


def test_state_can_be_listed_while_others_write() -> None:
    """Several threads can write to the state and list it without errors."""
    state = StateMapping(KeptState())
    state.commit()
    errors: list[BaseException] = []

    def write(start: int) -> None:
        try:
            for number in range(start, start + 20_000):
                state[str(number)] = number
                state.pop(str(number - 10), None)
                if number % 50 == 0:
                    list(state)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(n * 10**6,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
