from pathlib import Path

import pytest

from hotload_tui.core.config_loader import load_config, unmatched_entries
from hotload_tui.core.errors import ConfigError


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an empty project the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(text: str | bytes) -> list[str]:
    """Return what is said about a hotload.toml of this text, a line each."""
    Path("hotload.toml").write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigError) as caught:
        load_config()
    return str(caught.value).splitlines()


def test_without_a_file_the_defaults_hold() -> None:
    """A project without hotload.toml has its plugins in plugins/ and its artifacts in compiled/."""
    config = load_config()
    assert (config.runtime_dir, config.compiled_dir, config.plugins) == ("plugins", "compiled", {})


def test_every_kind_of_setting_is_read() -> None:
    """What I write in hotload.toml is what the manager gets."""
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
    """A configuration elsewhere means the plugins beside it, whether it names their folder or not."""
    (project / "app").mkdir()
    file = project / "app" / "hotload.toml"
    file.write_text('runtime_dir = "extensions"\n')
    config = load_config(file)
    assert config.runtime_dir == str(project / "app" / "extensions")
    assert config.compiled_dir == str(project / "app" / "compiled")


def test_absolute_folders_in_the_file_stay() -> None:
    """An absolute folder is taken as it is written."""
    Path("hotload.toml").write_text('runtime_dir = "/srv/plugins"\n')
    assert load_config().runtime_dir == "/srv/plugins"


def test_given_folders_win_and_belong_to_the_working_directory() -> None:
    """--plugins on the command line beats the file, and is relative to where I stand."""
    Path("app").mkdir()
    Path("app/hotload.toml").write_text('runtime_dir = "extensions"\ncompiled_dir = "out"\n')
    config = load_config(Path("app/hotload.toml"), runtime_dir=Path("mine"))
    assert (config.runtime_dir, config.compiled_dir) == ("mine", "app/out")


def test_a_named_file_must_exist() -> None:
    """--config with a misspelled file is an error, not a silent default."""
    with pytest.raises(ConfigError, match=r"^nowhere\.toml: there is no such file"):
        load_config(Path("nowhere.toml"))


def test_a_directory_is_no_configuration() -> None:
    """A directory called hotload.toml is said to be one."""
    Path("hotload.toml").mkdir()
    with pytest.raises(ConfigError, match=r"^hotload\.toml: cannot be read: Is a directory"):
        load_config()


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
    """A file that is no TOML is refused with the line that I have to look at."""
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
            "plugins.x.qqqq: unknown key; there are: enabled, hook_point, priority, settings",
        ),
    ],
)
def test_an_unknown_key_names_the_nearest(text: str, said: str) -> None:
    """A misspelled key is refused with the one that I probably meant."""
    assert refusal(text) == [f"hotload.toml: {said}"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('load_timeout = "long"', "load_timeout: expected a number, got text in quotes"),
        ("runtime_dir = 3", "runtime_dir: expected text in quotes, got a whole number"),
        ("keep_generations = 1979-05-27", "keep_generations: expected a whole number, got a date"),
        ("load_timeout = nan", "load_timeout: expected a number of seconds, got nan"),
        ("plugins = 3", "plugins: expected a table, got a whole number"),
        ("[plugins]\ngreeter = 3", "plugins.greeter: expected a table, got a whole number"),
        (
            '[plugins.greeter]\npriority = "high"',
            "plugins.greeter.priority: expected a whole number, got text in quotes",
        ),
        ("[plugins.a]\nenabled = 1", "plugins.a.enabled: expected true or false, got a whole number"),
        ("[keys]\nreload = 5", "keys.reload: expected text in quotes, got a whole number"),
    ],
)
def test_a_wrong_type_names_the_key(text: str, said: str) -> None:
    """A value of the wrong type is refused under its full key, with what belongs there."""
    assert refusal(text) == [f"hotload.toml: {said}"]


def test_a_value_out_of_range_names_the_key() -> None:
    """A number that makes no sense is refused with its key and the file."""
    assert refusal("debounce_time = 0") == [
        "hotload.toml: debounce_time = 0.0: must be a number of seconds greater than 0"
    ]


def test_all_mistakes_are_told_at_once() -> None:
    """I learn of all my mistakes in one run, not one by one."""
    assert len(refusal('debounce_tme = 1\nload_timeout = "x"\n[plugins.a]\npriority = "b"')) == 3


def test_an_entry_without_a_directory_is_warned_about() -> None:
    """A misspelled plugin in hotload.toml is pointed out, with the directory that is nearest."""
    Path("hotload.toml").write_text("[plugins.greter]\npriority = 1\n[plugins.clock]\npriority = 2\n")
    assert unmatched_entries(load_config(), ["clock", "greeter"]) == (
        '[plugins.greter] has no plugin directory of that name; did you mean "greeter"?',
    )


def test_entries_are_warned_about_in_an_empty_folder() -> None:
    """With no plugins at all the warning is given without a suggestion."""
    Path("hotload.toml").write_text("[plugins.clock]\n")
    assert unmatched_entries(load_config(), []) == ("[plugins.clock] has no plugin directory of that name",)
