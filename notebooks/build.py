"""Make the notebooks and the teacher's pages from the sources.

    python notebooks/build.py [--check] [--execute] [LESSON ...]

A LESSON is the beginning of a name, such as 03. Without `--execute` the outputs of a
solution notebook stay as long as its cells do.
"""

import argparse
import hashlib
import json
import os
import re
import sys
import tempfile
from configparser import ConfigParser
from pathlib import Path
from typing import Any

from lesson_files import FOLDER, Cell, Lesson, lesson_paths, read_lesson

ROOT = FOLDER.parent
_COLAB = "https://colab.research.google.com/"
_BADGE = f"{_COLAB}assets/colab-badge.svg"
_PLACES = {"student": "", "solution": "solutions/"}
_HINTS = {
    "student": "Exercises are open in this copy; `solutions/` has the worked one.",
    "solution": "This is the worked copy, with outputs. Try the open one first.",
}
# What TensorFlow, JAX and their C++ libraries say while they start, and progress.
_NOISE = re.compile(
    r"^(WARNING: All log messages before absl|[IWEF]\d{4} "
    r"|\d{4}-\d\d-\d\d .*: [IWE] |To enable the following instructions"
    r"|.*(cuda|TensorRT|oneDNN).*|[\w ,]+: \d+/\d+\s*$)",
    flags=re.I,
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 1 when a product is not what its source makes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lessons", nargs="*", metavar="LESSON")
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--execute", action="store_true", help="run the solutions")
    options = parser.parse_args(arguments)
    faults = []
    for path in lesson_paths(options.lessons):
        lesson = read_lesson(path)
        for product, text in products(lesson).items():
            current = product.read_text(encoding="utf-8") if product.exists() else ""
            where = product.relative_to(FOLDER.parent).as_posix()
            if options.check and current != text:
                faults.append(f"{where} is not what {path.name} makes: run build.py")
            elif not options.check and current != text:
                product.parent.mkdir(exist_ok=True)
                product.write_text(text, encoding="utf-8")
                print(f"wrote {where}")
        solution = _notebook_path(lesson, "solution")
        if options.execute:
            execute(solution)
            print(f"ran {solution.relative_to(FOLDER.parent).as_posix()}")
        elif not _is_executed(solution):
            where = solution.relative_to(FOLDER.parent).as_posix()
            faults.append(f"{where} has no outputs: run build.py --execute")
    faults += [f"{stray} has no source" for stray in strays()]
    print("\n".join(faults), end="\n" if faults else "")
    return int(bool(faults) and options.check)


def products(lesson: Lesson) -> dict[Path, str]:
    """What a lesson's source makes: path -> text."""
    solution = _notebook_path(lesson, "solution")
    made = {_notebook_path(lesson, kind): notebook(lesson, kind) for kind in _PLACES}
    _keep_outputs(made[solution], solution)
    texts = {path: to_text(content) for path, content in made.items()}
    return {**texts, FOLDER / "teacher" / f"{lesson.name}.md": teacher_page(lesson)}


def notebook(lesson: Lesson, kind: str) -> dict[str, Any]:
    """The "student" or the "solution" copy, without outputs."""
    title, *rest = lesson.copy(kind)
    cells = [title, _badge_cell(lesson, kind), _install_cell(), *rest]
    seen: dict[str, int] = {}
    return {
        "cells": [_cell_json(lesson, cell, seen) for cell in cells],
        "metadata": {
            "colab": {"provenance": [], "toc_visible": True},
            "kernelspec": {
                "display_name": "Python 3",
                "language": "python",
                "name": "python3",
            },
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def to_text(content: dict[str, Any]) -> str:
    """A notebook as its file's text."""
    return json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def teacher_page(lesson: Lesson) -> str:
    """The teacher's notes, with every exercise's right and typical wrong answers."""
    notes = [cell.text for cell in lesson.cells if cell.tag == "teacher"]
    parts = [f"# Teacher's page: {lesson.title}", *notes, "## Exercises"]
    for exercise in lesson.exercises:
        parts += [f"### {exercise.key}", "A solution:", _fenced(exercise.solution)]
        for number, cell in enumerate(exercise.wrong, 1):
            parts += [f"Typical wrong answer {number}:", _fenced(cell)]
        parts += ["What is tested, hint by hint:", _fenced(exercise.check)]
    return "\n\n".join(parts) + "\n"


def execute(path: Path) -> None:
    """Run a notebook in a fresh kernel at the tiny scale, and keep its outputs.

    Raises:
        RuntimeError: If an output names a place on this machine or is a warning.
    """
    import nbformat
    from nbclient import NotebookClient

    content = json.loads(path.read_text(encoding="utf-8"))
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERASTL_SCALE": "tiny", "KERASTL_SEED": "0"}
    os.environ.update(quiet)
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.pop("MPLBACKEND", None)
    with tempfile.TemporaryDirectory() as folder:
        ran = nbformat.reads(json.dumps(content), as_version=4)
        client = NotebookClient(
            ran,
            timeout=300,
            record_timing=False,
            resources={"metadata": {"path": folder}},
        )
        client.execute()
        private = [folder, str(Path.home()), sys.prefix, str(ROOT)]
    for cell, done in zip(content["cells"], ran.cells, strict=True):
        if cell["cell_type"] == "code":
            cell["execution_count"] = done.execution_count
            cell["outputs"] = clean_outputs(json.loads(json.dumps(done.outputs)))
    text = to_text(content)
    named = [place for place in private if f"{place}/" in text]
    if named:
        raise RuntimeError(f"{path.name}: an output names {named}")
    path.write_text(text, encoding="utf-8")


def clean_outputs(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Outputs without the noise of a start, neighbouring streams joined.

    Raises:
        RuntimeError: If anything else was written to standard error, or a logger's
            warning anywhere: TensorFlow writes those to standard output.
    """
    kept: list[dict[str, Any]] = []
    for output in outputs:
        if output["output_type"] == "stream":
            lines = "".join(output["text"]).splitlines(keepends=True)
            if output["name"] == "stderr":
                lines = [x for x in lines if x.strip() and not _NOISE.match(x)]
                if lines:
                    raise RuntimeError(f"standard error: {''.join(lines)[:2000]}")
                continue
            logged = [line for line in lines if line.startswith("WARNING:")]
            if logged:
                raise RuntimeError(f"a warning: {''.join(logged)[:2000]}")
            if kept and kept[-1].get("name") == "stdout":
                kept[-1]["text"] += lines
                continue
            output["text"] = lines
        _drop_doubled_picture(output)
        for kind, value in output.get("data", {}).items():
            if isinstance(value, str) and not kind.startswith("image/"):
                output["data"][kind] = value.splitlines(keepends=True)
        kept.append(output)
    return kept


def _drop_doubled_picture(output: dict[str, Any]) -> None:
    """Leave out a PNG that the HTML, which front ends prefer, holds too."""
    data = output.get("data", {})
    picture = data.get("image/png", "").strip()
    if picture and picture in data.get("text/html", ""):
        del data["image/png"]
        output["metadata"].pop("image/png", None)


def strays() -> list[str]:
    """Products whose source is gone."""
    names = {path.stem for path in (FOLDER / "src").glob("*.py")}
    made = [*FOLDER.glob("*.ipynb"), *FOLDER.glob("*/*.ipynb")]
    made += (FOLDER / "teacher").glob("*.md")
    return [
        path.relative_to(FOLDER.parent).as_posix()
        for path in sorted(made)
        if path.stem not in names
    ]


def version() -> str:
    """The library's version, without importing it."""
    text = (ROOT / "kerastl" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'__version__ = "([^"]+)"', text)[1]


def _repository() -> str:
    """Owner and name on GitHub, "" as long as `setup.cfg` has no `url` there."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    url = setup.get("metadata", "url", fallback="")
    found = re.search(r"github\.com/([\w.-]+/[\w-]+)", url)
    return found[1] if found else ""


def _badge_cell(lesson: Lesson, kind: str) -> Cell:
    link, how = _COLAB, "In Colab choose *Upload* and take this file. "
    if repository := _repository():
        path = f"notebooks/{_PLACES[kind]}{lesson.name}.ipynb"
        link, how = f"{_COLAB}github/{repository}/blob/v{version()}/{path}", ""
    badge = f"[![Open this lesson in Colab]({_BADGE})]({link})"
    return Cell(True, "", f"{badge}\n\n{how}{_HINTS[kind]}", 0)


def _install_cell() -> Cell:
    # `%pip` puts the value of a Python expression in braces into its line.
    repository = _repository()
    source = f"git+https://github.com/{repository}@v{version()}" if repository else ""
    text = (
        "# @title Run this first: on Colab it installs the library\n"
        "import importlib.util\n"
        "import os\n"
        "import sys\n"
        "from pathlib import Path\n\n"
        "# No red lines about a GPU that is not there.\n"
        'os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")\n'
        "# An uploaded wheel goes before the repository.\n"
        'wheels = sorted(map(str, Path().glob("kerastl-*.whl")))\n'
        f"source = wheels[-1] if wheels else {json.dumps(source)}\n"
        'if "google.colab" in sys.modules and source:\n'
        "    %pip install --quiet {source}\n"
        "    importlib.invalidate_caches()\n"
        'if importlib.util.find_spec("kerastl") is None:\n'
        "    raise RuntimeError(\n"
        f'        "kerastl {version()} is not installed. On Colab: upload its .whl "\n'
        '        "file (folder sign at the left) and run this cell again. Else: "\n'
        '        "pip install the .whl, and start the notebook anew."\n'
        "    )"
    )
    return Cell(False, "install", text, 0)


def _cell_json(lesson: Lesson, cell: Cell, seen: dict[str, int]) -> dict[str, Any]:
    """A cell of a notebook; its id depends on its text alone, and its repeats."""
    text = f"{lesson.name} {cell.markdown} {cell.text}"
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    seen[digest] = seen.get(digest, 0) + 1
    repeat = f"-{seen[digest]}" if seen[digest] > 1 else ""
    metadata: dict[str, Any] = {"tags": [cell.tag]} if cell.tag else {}
    if cell.tag in {"check", "install", "plumbing"}:
        metadata |= {"cellView": "form", "jupyter": {"source_hidden": True}}
    metadata["slideshow"] = {"slide_type": _slide(cell)}
    made = {
        "cell_type": "markdown" if cell.markdown else "code",
        "id": digest + repeat,
        "metadata": metadata,
        "source": cell.text.splitlines(keepends=True),
    }
    return made if cell.markdown else {**made, "execution_count": None, "outputs": []}


def _slide(cell: Cell) -> str:
    """What a cell is when a lesson is shown as slides; plumbing may draw a figure."""
    if cell.tag in {"check", "install"}:
        return "skip"
    if cell.markdown and re.search("^#{1,2} ", cell.text, flags=re.M):
        return "slide"
    return "fragment" if cell.markdown else "subslide"


def _keep_outputs(content: dict[str, Any], path: Path) -> None:
    """Take over the outputs of the file at `path` if no code cell has changed."""
    if not path.exists():
        return
    old = [c for c in json.loads(path.read_text("utf-8"))["cells"] if "outputs" in c]
    new = [cell for cell in content["cells"] if "outputs" in cell]
    # The install cell of the version before prints nothing either.
    if [_source(cell) for cell in old] != [_source(cell) for cell in new]:
        return
    for before, after in zip(old, new, strict=True):
        after["execution_count"] = before["execution_count"]
        after["outputs"] = before["outputs"]


def _source(cell: dict[str, Any]) -> list[str]:
    """What a cell runs; the generated one counts for nothing."""
    return [] if "install" in cell["metadata"].get("tags", []) else cell["source"]


def _is_executed(path: Path) -> bool:
    if not path.exists():
        return False
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return all(cell.get("execution_count", 1) for cell in cells)


def _notebook_path(lesson: Lesson, kind: str) -> Path:
    return FOLDER / _PLACES[kind] / f"{lesson.name}.ipynb"


def _fenced(cell: Cell) -> str:
    return f"```python\n{cell.text}\n```"


if __name__ == "__main__":
    sys.exit(main())
