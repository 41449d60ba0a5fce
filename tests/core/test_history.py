import os
from pathlib import Path

import pytest

from hotload_tui.core.compiled import RECORD, Record
from hotload_tui.core.errors import ArtifactError


def test_the_last_live_version_is_remembered_across_processes(tmp_path: Path) -> None:
    """A new host reads the record that the previous host wrote."""
    Record(tmp_path / "compiled").set_last_good({"a": "1", "b": "2"})
    Record(tmp_path / "compiled").set_last_good({"b": "3"})
    again = Record(tmp_path / "compiled")
    assert (again.last_good("a"), again.last_good("b"), again.last_good("c")) == ("1", "3", "")


def test_an_empty_digest_forgets(tmp_path: Path) -> None:
    """A plugin whose digest is emptied has no last good artifact."""
    Record(tmp_path).set_last_good({"a": "1"})
    Record(tmp_path).set_last_good({"a": ""})
    assert Record(tmp_path).last_good("a") == ""


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a": 1}', b"\xff\xfe", b'{"a": "\xff"}'])
def test_a_damaged_file_counts_as_none(tmp_path: Path, content: bytes) -> None:
    """A damaged record is read as an empty one, and can be written again."""
    (tmp_path / RECORD).write_bytes(content)
    record = Record(tmp_path)
    assert record.last_good("a") == ""
    record.set_last_good({"a": "1"})
    assert Record(tmp_path).last_good("a") == "1"


def test_nothing_is_written_when_nothing_changed(tmp_path: Path) -> None:
    """Recording the same version again does not write the file."""
    record = Record(tmp_path)
    record.set_last_good({"a": "1"})
    (tmp_path / RECORD).unlink()
    record.set_last_good({"a": "1"})
    assert not (tmp_path / RECORD).exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """If the record cannot be written, the error names the file."""
    (tmp_path / "compiled").write_text("in the way")
    with pytest.raises(ArtifactError, match=RECORD):
        Record(tmp_path / "compiled").set_last_good({"a": "1"})


def test_what_was_interrupted_before_it_was_written_is_not_on_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an interrupted write, the next read returns the content of the file."""
    record = Record(tmp_path)
    record.set_last_good({"greet": "1"})

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        record.set_last_good({"greet": "2"})
    record.read()
    assert record.last_good("greet") == "1"
