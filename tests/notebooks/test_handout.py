"""What a class is handed, and what comes back from it."""

import json
import zipfile

import collect
import make_handout
from lesson_files import lesson_paths, read_lesson


def test_the_handout_holds_no_solution(tmp_path, capsys):
    wheel = tmp_path / "kerastl-9-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    path = tmp_path / "class.zip"
    assert make_handout.main([str(path), "--wheel", str(wheel)]) == 0
    with zipfile.ZipFile(path) as bundle:
        names = bundle.namelist()
        text = "".join(bundle.read(name).decode() for name in names if "nb" in name)
        assert wheel.name in bundle.read("START.md").decode()
    assert not [name for name in names if "/" in name]
    assert sum(name.endswith(".ipynb") for name in names) == len(lesson_paths())
    for each in lesson_paths():
        for exercise in read_lesson(each).exercises:
            assert json.dumps(exercise.solution.text)[1:-1] not in text
    assert make_handout.main([str(path)]) == 1
    assert "exists" in capsys.readouterr().err


def test_the_table_of_a_class(tmp_path, capsys):
    def note(key, outcome):
        return json.dumps({"kind": "check", "key": key, "outcome": outcome})

    anna = [note("01.1", "hint"), note("01.1", "passed"), note("01.1", "hint")]
    ben = [note("01.1", "todo"), note("01.2", "hint"), json.dumps({"kind": "end"})]
    (tmp_path / "anna.jsonl").write_text("\n".join([*anna, '{"kind": "che']))
    (tmp_path / "ben.jsonl").write_text("\n".join(ben))
    assert collect.main([str(tmp_path), "--csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "learner,01.1,01.2,passed",
        "anna,passed (1),-,1 of 2",
        "ben,-,open (1),0 of 2",
    ]
    assert collect.main([str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["anna", "passed"]


def test_a_class_without_records(tmp_path, capsys):
    assert collect.main([str(tmp_path)]) == 1
    assert ".jsonl" in capsys.readouterr().err
