"""Files written whole or not at all."""

import os
import time

import pytest

from kerastl._files import whole_file


def test_a_finished_draft_takes_the_place_of_the_file(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("old")
    with whole_file(path) as draft:
        assert draft.suffix == ".txt"
        draft.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_draft_leaves_what_was_there(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("old")
    with pytest.raises(OSError, match="full"), whole_file(path) as draft:
        draft.write_text("half")
        raise OSError("full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_may_be_read_as_any_other(tmp_path):
    mask = os.umask(0o022)
    try:
        with whole_file(tmp_path / "a") as draft:
            draft.write_text("")
    finally:
        os.umask(mask)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_a_draft_is_on_the_disk_before_it_takes_the_place(tmp_path, monkeypatch):
    path, synced = tmp_path / "notes.txt", []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(path.exists()))
    with whole_file(path) as draft:
        draft.write_text("new")
    assert synced == [False]


@pytest.mark.parametrize(("age", "left"), [(2 * 86_400, 0), (60, 1)])
def test_a_draft_that_nobody_writes_any_more_goes(tmp_path, age, left):
    path, draft = tmp_path / "notes.txt", tmp_path / ".notes-abcd1234.txt"
    draft.touch()
    os.utime(draft, (time.time() - age, time.time() - age))
    with whole_file(path):
        pass
    assert draft.exists() == left
    assert path.exists()
