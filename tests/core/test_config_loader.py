from pathlib import Path

import pytest

from hotload_tui.core.config import Config
from hotload_tui.core.config_files import load_config, resolve, unmatched_entries
from hotload_tui.core.errors import ConfigError


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an empty project the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(text: str | bytes) -> list[str]:
    """Return the lines of the error for a hotload.toml with this text."""
    Path("hotload.toml").write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigError) as caught:
        load_config()
    return str(caught.value).splitlines()


def test_a_number_with_a_fraction_is_named_where_a_whole_one_belongs(tmp_path: Path) -> None:
    """The error for a fraction in place of a whole number gives the value and an example."""
    file = tmp_path / "hotload.toml"
    file.write_text("[plugins.one]\npriority = 2.5\n")
    with pytest.raises(
        ConfigError, match=r"plugins\.one\.priority: expected a whole number, got 2\.5; such as"
    ):
        load_config(file)


def test_without_a_file_the_defaults_hold() -> None:
    """Without hotload.toml, plugins are in plugins/ and artifacts in compiled/."""
    config = load_config()
    assert (config.runtime_dir, config.compiled_dir, config.plugins) == ("plugins", "compiled", {})


def test_every_kind_of_setting_is_read() -> None:
    """Settings of every kind in hotload.toml reach the configuration."""
    Path("hotload.toml").write_text(
        'debounce_time = 1\nenable_watch = false\n[plugins.greeter]\npriority = 10\nhook_point = "greet"\n'
        'settings = { greeting = "Hi", tries = [1, 2] }\n[keys]\nreload = "f5"\n'
    )
    config = load_config()
    assert (config.debounce_time, config.enable_watch) == (1.0, False)
    assert config.of("greeter").priority == 10
    assert config.of("greeter").hook_point == "greet"
    assert config.of("greeter").settings == {"greeting": "Hi", "tries": [1, 2]}
    assert config.keys == {"reload": "f5"}


def test_folders_in_the_file_belong_to_the_file(project: Path) -> None:
    """Folders in a configuration file, and the default folders, are relative to that file."""
    (project / "app").mkdir()
    file = project / "app" / "hotload.toml"
    file.write_text('runtime_dir = "extensions"\n')
    config = load_config(file)
    assert config.runtime_dir == str(project / "app" / "extensions")
    assert config.compiled_dir == str(project / "app" / "compiled")


def test_absolute_folders_in_the_file_stay() -> None:
    """An absolute folder is used as it is written."""
    Path("hotload.toml").write_text('runtime_dir = "/srv/plugins"\n')
    assert load_config().runtime_dir == "/srv/plugins"


def test_given_folders_win_and_belong_to_the_working_directory() -> None:
    """A folder from the command line overrides the file and is relative to the working directory."""
    Path("app").mkdir()
    Path("app/hotload.toml").write_text('runtime_dir = "extensions"\ncompiled_dir = "out"\n')
    config = load_config(Path("app/hotload.toml"), runtime_dir=Path("mine"))
    assert (config.runtime_dir, config.compiled_dir) == ("mine", "app/out")


def test_a_named_file_must_exist() -> None:
    """``--config`` with a missing file is an error, not a silent default."""
    with pytest.raises(ConfigError, match=r"^nowhere\.toml: there is no such file"):
        load_config(Path("nowhere.toml"))


def test_a_directory_is_no_configuration() -> None:
    """If hotload.toml is a directory, the error says so."""
    Path("hotload.toml").mkdir()
    with pytest.raises(ConfigError, match=r"^hotload\.toml: cannot be read: Is a directory"):
        load_config()
    with pytest.raises(ConfigError, match=r"^\.: cannot be read: Is a directory"):
        load_config(Path())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = 1\nb = = 2\n", "hotload.toml: line 2, column 5: not valid TOML: Invalid value"),
        ("a = 1\nb = \n\n", "hotload.toml: line 2, column 5: not valid TOML: Invalid value"),
        ("a = 1\n\nb =", "hotload.toml: line 3: not valid TOML: Invalid value"),
        (b"a = 1\nb = '\xff'\n", "hotload.toml: line 2: not UTF-8; save the file in that encoding"),
        ("a = " + "[" * 100_000, "hotload.toml: nested too deeply"),
    ],
)
def test_a_syntax_error_names_its_line(text: str | bytes, said: str) -> None:
    """A file that is not valid TOML is refused with the position of the error."""
    assert refusal(text) == [said]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("debounce_tme = 1", 'debounce_tme: unknown key; did you mean "debounce_time"?'),
        ("[plugins.greeter]\nprority = 1", 'plugins.greeter.prority: unknown key; did you mean "priority"?'),
        (
            '[plugins."my p"]\nenable = true',
            'plugins."my p".enable: unknown key; did you mean "enabled"?',
        ),
        (
            "[plugins.x]\nqqqq = 1",
            (
                "plugins.x.qqqq: unknown key;"
                " there are: checks, enabled, follow, forget, gate, hook_point, priority, reload, requires,"
                " settings, share"
            ),
        ),
    ],
)
def test_an_unknown_key_names_the_nearest(text: str, said: str) -> None:
    """A misspelled key is refused with the nearest known key."""
    assert refusal(text) == [f"hotload.toml: {said}"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'load_timeout = "long"',
            "load_timeout: expected a number, got text in quotes; such as: load_timeout = 1.5",
        ),
        (
            '[plugins.x]\nreload = "often"',
            'plugins.x.reload: must be "swap" or "replace"',
        ),
        (
            "runtime_dir = 3",
            'runtime_dir: expected text in quotes, got a whole number; such as: runtime_dir = "text"',
        ),
        (
            "keep_generations = 1979-05-27",
            "keep_generations: expected a whole number, got a date; such as: keep_generations = 10",
        ),
        ("load_timeout = nan", "load_timeout: expected a number of seconds, got nan"),
        ("plugins = 3", "plugins: expected a table, got a whole number; such as: [plugins]"),
        (
            "[plugins]\ngreeter = 3",
            "plugins.greeter: expected a table, got a whole number; such as: [plugins.greeter]",
        ),
        (
            '[plugins.greeter]\npriority = "high"',
            "plugins.greeter.priority: expected a whole number, got text in quotes; such as: priority = 10",
        ),
        (
            "[plugins.a]\nenabled = 1",
            "plugins.a.enabled: expected true or false, got a whole number; such as: enabled = true",
        ),
        (
            "[keys]\nreload = 5",
            'keys.reload: expected text in quotes, got a whole number; such as: reload = "text"',
        ),
    ],
)
def test_a_wrong_type_names_the_key(text: str, said: str) -> None:
    """A value of the wrong type is refused with its full key and the expected type."""
    assert refusal(text) == [f"hotload.toml: {said}"]


def test_a_value_out_of_range_names_the_key() -> None:
    """A number that makes no sense is refused with its key and the file name."""
    assert refusal("debounce_time = 0") == [
        "hotload.toml: debounce_time = 0.0: must be a number of seconds greater than 0"
    ]


def test_all_mistakes_are_reported_at_once() -> None:
    """All mistakes in a file are reported at once, not one by one."""
    assert len(refusal('debounce_tme = 1\nload_timeout = "x"\n[plugins.a]\npriority = "b"')) == 3


def test_an_entry_without_a_directory_is_warned_about() -> None:
    """A table for an unknown plugin causes a warning with the nearest plugin directory."""
    Path("hotload.toml").write_text("[plugins.greter]\npriority = 1\n[plugins.clock]\npriority = 2\n")
    assert unmatched_entries(load_config(), ["clock", "greeter"]) == (
        '[plugins.greter] has no plugin directory of that name; did you mean "greeter"?',
    )


def test_entries_are_warned_about_in_an_empty_folder() -> None:
    """If there are no plugins, the warning says so in place of a suggestion."""
    Path("hotload.toml").write_text("[plugins.clock]\n")
    (warning,) = unmatched_entries(load_config(), [])
    assert warning == "[plugins.clock] has no plugin directory of that name; there are none"


def origins(*, path: Path | None = None, **environment: str) -> dict[str, tuple[object, str]]:
    """Return each value with its source."""
    settings = resolve(path, environment=environment).settings
    return {setting.key: (setting.value, setting.source) for setting in settings}


def test_pyproject_hotload_toml_environment_and_flags_weigh_more_and_more() -> None:
    """A flag overrides the environment, which overrides hotload.toml, which overrides pyproject.toml."""
    Path("pyproject.toml").write_text(
        '[tool.hotload]\nruntime_dir = "a"\ncompiled_dir = "a"\nload_timeout = 1\ndrain_timeout = 1\n'
    )
    Path("hotload.toml").write_text('runtime_dir = "b"\ncompiled_dir = "b"\nload_timeout = 2\n')
    environment = {"HOTLOAD_RUNTIME_DIR": "c", "HOTLOAD_COMPILED_DIR": "c"}
    resolved = resolve(runtime_dir=Path("d"), environment=environment)
    found = {setting.key: (setting.value, setting.source) for setting in resolved.settings}
    assert found["runtime_dir"] == ("d", "--plugins")
    assert found["compiled_dir"] == ("c", "HOTLOAD_COMPILED_DIR")
    assert found["load_timeout"] == (2.0, "hotload.toml")
    assert found["drain_timeout"] == (1.0, "pyproject.toml [tool.hotload]")
    assert found["keep_generations"] == (10, "default")
    assert (resolved.config.runtime_dir, resolved.config.compiled_dir) == ("d", "c")


def test_tables_of_two_files_are_one_key_by_key() -> None:
    """A plugin table in hotload.toml overrides pyproject.toml key by key, not as a whole."""
    Path("pyproject.toml").write_text(
        "[tool.hotload.plugins.greet]\npriority = 1\nsettings = { a = 1, b = 1 }\n"
    )
    Path("hotload.toml").write_text("[plugins.greet]\nsettings = { b = 2 }\n")
    config = load_config()
    assert (config.of("greet").priority, config.of("greet").settings) == (1, {"a": 1, "b": 2})
    assert origins()["plugins.greet.priority"] == (1, "pyproject.toml [tool.hotload]")
    assert origins()["plugins.greet.settings.b"] == (2, "hotload.toml")


def test_the_environment_gives_scalars_of_every_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """``load_config()`` reads scalars of every kind from the environment, and ignores empty variables."""
    for name, text in {"LOAD_TIMEOUT": "3", "ENABLE_WATCH": "false", "MODULE_PATH": ""}.items():
        monkeypatch.setenv(f"HOTLOAD_{name}", text)
    config = load_config()
    assert (config.load_timeout, config.enable_watch, config.module_path) == (3.0, False, "hotplug")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "HOTLOAD_LOAD_TIMEOUT",
            "long",
            'expected a number, got "long"; such as: HOTLOAD_LOAD_TIMEOUT=10.0',
        ),
        (
            "HOTLOAD_ENABLE_WATCH",
            "maybe",
            'expected true or false, got "maybe"; such as: HOTLOAD_ENABLE_WATCH=true',
        ),
        ("HOTLOAD_LOAD_TIMEOUT", "0", "load_timeout = 0.0: must be a number of seconds greater than 0"),
        ("HOTLOAD_LOAD_TIMEOUT", "nan", "load_timeout: expected a number of seconds, got nan"),
    ],
)
def test_a_wrong_variable_is_named_with_what_to_write(name: str, text: str, said: str) -> None:
    """An unusable variable is refused by name, with an example of a valid value."""
    with pytest.raises(ConfigError) as caught:
        resolve(environment={name: text})
    assert str(caught.value) == f"{name}: {said}"


def test_a_misspelled_variable_is_warned_about() -> None:
    """A variable that is nearly a setting causes a warning; one that only shares the prefix does not."""
    others = {"HOTLOAD_API_TOKEN": "x", "HOTLOAD_LOOKS": "5"}
    warnings = resolve(environment={"HOTLOAD_LOADTIMEOUT": "3", **others}).warnings
    assert warnings == (
        "HOTLOAD_LOADTIMEOUT: no such setting, so it is ignored; did you mean HOTLOAD_LOAD_TIMEOUT?",
    )


def test_mistakes_in_pyproject_are_reported_with_its_name() -> None:
    """A mistake in pyproject.toml names that file, even if hotload.toml overrides the value."""
    Path("pyproject.toml").write_text("[tool.hotload]\ndebounce_time = 0\nlod_timeout = 1\n")
    assert refusal("debounce_time = 1") == [
        'pyproject.toml [tool.hotload]: lod_timeout: unknown key; did you mean "load_timeout"?'
    ]
    Path("pyproject.toml").write_text("[tool.hotload]\ndebounce_time = 0\n")
    assert refusal("debounce_time = 1") == [
        "pyproject.toml [tool.hotload]: debounce_time = 0.0: must be a number of seconds greater than 0"
    ]
    Path("pyproject.toml").write_text("[tool]\nhotload = 3\n")
    assert refusal("") == ["pyproject.toml [tool.hotload]: expected a table, with the keys of hotload.toml"]


def test_a_pyproject_without_our_table_is_ignored() -> None:
    """A pyproject.toml without ``[tool.hotload]`` changes no setting and is no mistake."""
    Path("pyproject.toml").write_text('tool = "x"\n[project]\nname = "x"\n')
    assert load_config() == Config()


def test_a_named_pyproject_is_read_as_one(project: Path) -> None:
    """``--config pyproject.toml`` reads its ``[tool.hotload]`` table, with folders relative to that file."""
    (project / "app").mkdir()
    file = Path("app/pyproject.toml")
    with pytest.raises(ConfigError, match=r"^app/pyproject\.toml: there is no such file"):
        load_config(file)
    file.write_text('[tool.hotload]\nruntime_dir = "extensions"\n')
    config = load_config(file)
    assert (config.runtime_dir, config.compiled_dir) == ("app/extensions", "app/compiled")
