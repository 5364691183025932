"""Files written whole or not at all."""

import os

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
