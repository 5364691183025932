"""What is asked of the output folder before the work, and what the asking leaves."""

import os
import tempfile

import pytest

import kerastl
from kerastl.workflow import check_output


def everything_in(folder):
    return sorted(str(path) for path in folder.rglob("*"))


@pytest.mark.parametrize("output", ["new", "new/and/deep", "empty"])
def test_a_folder_that_can_be_made_passes_and_is_not_made(tmp_path, output):
    (tmp_path / "empty").mkdir()
    before = everything_in(tmp_path)
    check_output(tmp_path / output, overwrite=False)
    assert everything_in(tmp_path) == before


def test_files_of_an_earlier_run_stay(tmp_path):
    (tmp_path / "model.keras").write_text("old")
    check_output(tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


def test_a_folder_below_a_file_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.delattr("kerastl.workflow.open_data")
    (tmp_path / "notes.txt").write_text("precious")
    with pytest.raises(ValueError, match=r"`output` must be a folder that can be wr"):
        kerastl.transfer("digits", output=tmp_path / "notes.txt" / "run")
    assert (tmp_path / "notes.txt").read_text() == "precious"


def test_a_folder_that_takes_no_file_is_refused_and_not_left(tmp_path, monkeypatch):
    def refuse(**_):
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(ValueError, match=r"'.*run'\. Read-only file system\.$"):
        check_output(tmp_path / "deep" / "run", overwrite=False)
    assert everything_in(tmp_path) == []
