"""The generator: products follow from sources, ids are stable, outputs are kept."""

import json
import shutil
from pathlib import Path

import build
import pytest
from lesson_files import FOLDER, Cell, lesson_paths, read_lesson


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def give_outputs(path):
    """What executing leaves: a count and an output in each code cell."""
    content = load(path)
    for count, cell in enumerate(content["cells"], 1):
        if cell["cell_type"] == "code":
            cell["execution_count"] = count
            cell["outputs"] = [
                {"output_type": "stream", "name": "stdout", "text": [f"{count}\n"]}
            ]
    path.write_text(build.to_text(content), encoding="utf-8")


@pytest.fixture
def products(course, source):
    """The products of the small lesson, the solution with outputs."""
    build.main([])
    solution = course / "solutions" / "09_a_lesson.ipynb"
    give_outputs(solution)
    return {
        "student": course / "09_a_lesson.ipynb",
        "solution": solution,
        "teacher": course / "teacher" / "09_a_lesson.md",
    }


@pytest.mark.parametrize("name", [path.stem for path in lesson_paths()])
def test_the_committed_products_are_those_of_the_source(name, capsys):
    status = build.main(["--check", name])
    assert capsys.readouterr().out == ""
    assert status == 0


def test_what_was_just_built_has_not_drifted(products, capsys):
    assert build.main(["--check"]) == 0


@pytest.mark.parametrize("name", ["student", "solution", "teacher"])
def test_a_product_edited_by_hand_is_one_line_and_status_one(products, name, capsys):
    path = products[name]
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("two = ", "two  = ", 1) + "\n", encoding="utf-8")
    capsys.readouterr()
    assert build.main(["--check"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert path.name in line


def test_a_changed_source_is_drift(products, source):
    text = source.read_text(encoding="utf-8")
    source.write_text(text.replace("Its question", "Another"), encoding="utf-8")
    assert build.main(["--check"]) == 1


def test_checking_writes_nothing(products, source):
    before = {path: path.read_bytes() for path in products.values()}
    text = source.read_text(encoding="utf-8")
    source.write_text(text.replace("Its question", "Another"), encoding="utf-8")
    build.main(["--check"])
    assert {path: path.read_bytes() for path in products.values()} == before


def test_a_product_without_a_source_is_reported(products, course, capsys):
    (course / "teacher" / "08_gone.md").write_text("old\n", encoding="utf-8")
    assert build.main(["--check"]) == 1
    assert "08_gone.md has no source" in capsys.readouterr().out


def test_a_solution_without_outputs_is_reported(course, capsys):
    build.main([])
    assert build.main(["--check"]) == 1
    assert "no outputs" in capsys.readouterr().out


def test_outputs_stay_while_only_prose_changes(products, source):
    text = source.read_text(encoding="utf-8")
    source.write_text(text.replace("Its question", "Another"), encoding="utf-8")
    build.main([])
    cells = load(products["solution"])["cells"]
    assert "Another" in "".join(cells[0]["source"])
    assert all(cell["outputs"] for cell in cells if cell["cell_type"] == "code")


def test_outputs_go_when_code_changes(products, source):
    text = source.read_text(encoding="utf-8")
    source.write_text(text.replace("two = 2", "two = 4"), encoding="utf-8")
    build.main([])
    cells = load(products["solution"])["cells"]
    assert not any(cell.get("outputs") for cell in cells)


def test_the_students_copy_has_no_output(products):
    cells = load(products["student"])["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] for cell in code)


def test_a_new_cell_changes_no_other_id(products, source):
    before = [cell["id"] for cell in load(products["student"])["cells"]]
    text = source.read_text(encoding="utf-8")
    inserted = text.replace('# %% tags=["stub"]', '# %%\nx = 1\n\n# %% tags=["stub"]')
    source.write_text(inserted, encoding="utf-8")
    build.main([])
    after = [cell["id"] for cell in load(products["student"])["cells"]]
    assert len(after) == len(before) + 1
    assert [each for each in after if each in before] == before


def test_equal_cells_have_different_ids(products, source):
    text = source.read_text(encoding="utf-8")
    source.write_text(text + "\n# %%\nx = 1\n\n# %%\nx = 1\n", encoding="utf-8")
    build.main([])
    ids = [cell["id"] for cell in load(products["student"])["cells"]]
    assert len(set(ids)) == len(ids)


def test_the_notebooks_are_valid(products):
    nbformat = pytest.importorskip("nbformat")
    for name in ("student", "solution"):
        content = nbformat.read(products[name], as_version=4)
        nbformat.validate(content)
        # Jupyter would write the very same file.
        assert nbformat.writes(content) + "\n" == products[name].read_text("utf-8")


def test_the_install_cell_is_guarded_and_pinned(products):
    cells = load(products["student"])["cells"]
    (text,) = ["".join(c["source"]) for c in cells if "pip" in "".join(c["source"])]
    assert 'if "google.colab" in sys.modules and source:\n' in text
    assert "    %pip install --quiet {source}" in text


@pytest.mark.parametrize("url", ["", "url = https://github.com/someone/some-fork"])
def test_the_install_cell_takes_the_tag_or_stops(course, monkeypatch, url):
    setup = course.parent / "setup.cfg"
    setup.write_text(f"[metadata]\n{url}\n")
    monkeypatch.setattr(build, "version", lambda: "1.2.3")
    monkeypatch.setattr(build, "ROOT", course.parent)
    monkeypatch.chdir(course)
    text = build._install_cell().text.replace("    %pip", "    pass  #")
    names = {}
    if url:
        exec(text, names)
        assert names["source"] == "git+https://github.com/someone/some-fork@v1.2.3"
    (course / "kerastl-1.2.3-py3-none-any.whl").touch()
    exec(text, names)
    assert names["source"] == "kerastl-1.2.3-py3-none-any.whl"


def test_without_the_library_the_first_cell_stops_the_others(monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    text = build._install_cell().text.replace("    %pip", "    pass  #")
    with pytest.raises(RuntimeError, match="upload its"):
        exec(text, {})


def test_each_cell_knows_its_place_on_slides(products):
    cells = load(products["student"])["cells"]
    kinds = [cell["metadata"]["slideshow"]["slide_type"] for cell in cells]
    assert kinds[0] == "slide"
    assert kinds[2] == "skip"
    assert {"slide", "skip", "subslide", "fragment"} >= set(kinds)


@pytest.mark.parametrize(
    ("tag", "kind"), [("plumbing", "subslide"), ("check", "skip"), ("install", "skip")]
)
def test_slides_show_the_figure_of_folded_code_and_no_check(tag, kind):
    assert build._slide(Cell(False, tag, "teach.show(figure)", 0)) == kind


def test_without_a_repository_the_badge_says_how_to_upload(source, monkeypatch):
    monkeypatch.setattr(build, "_repository", lambda: "")
    badge = build.notebook(read_lesson(source), "student")["cells"][1]["source"]
    assert badge[0].startswith("[![Open this lesson in Colab](https://")
    assert badge[0].endswith("](https://colab.research.google.com/)\n")
    assert "Upload" in badge[2]


def test_the_badge_leads_to_the_copy_it_stands_in(course, source, monkeypatch):
    setup = course.parent / "setup.cfg"
    setup.write_text("[metadata]\nurl = https://github.com/someone/some-fork\n")
    shutil.copytree(
        FOLDER.parent / "kerastl",
        course.parent / "kerastl",
        ignore=lambda folder, names: set(names) - {"__init__.py"},
    )
    monkeypatch.setattr(build, "ROOT", course.parent)
    for kind, place in (("student", ""), ("solution", "solutions/")):
        made = build.to_text(build.notebook(read_lesson(source), kind))
        assert "github/someone/some-fork/blob/" in made
        assert f"/notebooks/{place}09_a_lesson.ipynb)" in made


def test_a_check_is_folded_and_no_other_cell(products):
    cells = load(products["student"])["cells"]
    folded = [c for c in cells if c["metadata"].get("cellView") == "form"]
    texts = ["".join(cell["source"]) for cell in folded]
    assert len(texts) == 2
    assert all(text.startswith("# @title") for text in texts)
    assert all(c["metadata"]["jupyter"]["source_hidden"] for c in folded)
    assert "teach.check" in texts[1]


def test_the_teachers_page_has_the_notes_and_the_answers(products):
    text = products["teacher"].read_text(encoding="utf-8")
    assert text.startswith("# Teacher's page: 09 A lesson\n\n## Timing")
    assert "two = 2\n" in text
    assert "two = 3  # odd" in text
    assert "two = -2  # below zero" in text


def stream(name, *lines):
    return {"output_type": "stream", "name": name, "text": list(lines)}


def test_the_noise_of_a_start_is_left_out():
    noise = [
        "WARNING: All log messages before absl::InitializeLog() is called\n",
        "I0000 00:00:1795 1 port.cc:153] oneDNN custom operations are on.\n",
        "\rcomputing features: 32/720",
    ]
    assert build.clean_outputs([stream("stderr", *noise)]) == []


def test_a_warning_is_no_noise():
    with pytest.raises(RuntimeError, match="DeprecationWarning"):
        build.clean_outputs([stream("stderr", "x.py:7: DeprecationWarning: old\n")])


def test_a_logged_warning_is_no_output():
    with pytest.raises(RuntimeError, match="retracing"):
        build.clean_outputs([stream("stdout", "a\n", "WARNING:tf:retracing\n")])


def test_neighbouring_streams_are_joined():
    outputs = [stream("stdout", "a\n"), stream("stdout", "b\n")]
    assert build.clean_outputs(outputs) == [stream("stdout", "a\n", "b\n")]


def test_a_picture_is_kept_once():
    page = '<figure><img src="data:image/png;base64,aGVsbG8="></figure>'
    for html, kept in ((page, ["text/html"]), ("<p>x</p>", ["image/png", "text/html"])):
        output = {
            "output_type": "display_data",
            "data": {"image/png": "aGVsbG8=\n", "text/html": html},
            "metadata": {"image/png": {"alt": "a line"}},
        }
        (cleaned,) = build.clean_outputs([output])
        assert sorted(cleaned["data"]) == kept
        assert ("image/png" in cleaned["metadata"]) == ("image/png" in kept)


@pytest.mark.notebook
def test_executing_keeps_what_cells_print(products):
    pytest.importorskip("nbclient")
    build.execute(products["solution"])
    text = products["solution"].read_text(encoding="utf-8")
    assert "09.1  Passed: 2 of 2 properties hold." in text
    assert str(Path.home()) + "/" not in text
