"""Which pages the site has. The tree is the repository's, so that its links work.

A new file in `docs/` is a how-to page, a new lesson a page of the course, a new table
in `benchmarks/` one there: none of them has to be named here. `HOW_TO` only says what
comes first.
"""

import inspect
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "website"), str(ROOT), str(ROOT / "tests")]

import lesson_pages  # noqa: E402
import site_checks  # noqa: E402
from public_names import NAMESPACES, PUBLIC  # noqa: E402

import kerastl  # noqa: E402

#: The first pages of the how-to part, in order; the others follow by name.
HOW_TO = [
    *("start", "folder", "table", "texts", "masks_and_boxes", "keras_model"),
    *("evaluation", "evidence", "features", "adaptation", "colab", "devices"),
    *("choosing", "recipes", "weights", "caching", "commands"),
]
#: Pages of `docs/` that belong elsewhere.
ELSEWHERE = ["why", "design", "limits"]
#: Files that pages link to, beside those of `docs/`.
FURTHER = ["kerastl/models/tiny/README.md", "kerastl/photographs/README.md"]


def _under(pattern: str) -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern))


def how_to_pages() -> list[str]:
    """The how-to pages: those of `HOW_TO`, then whatever else lies in `docs/`."""
    rest = [Path(path).stem for path in _under("docs/*.md")]
    rest = [name for name in rest if name not in (*HOW_TO, *ELSEWHERE)]
    return [f"docs/{name}.md" for name in (*HOW_TO, *rest)]


def course_pages() -> list[str]:
    """The lessons, in order."""
    return [f"notebooks/{Path(p).stem}.md" for p in _under("notebooks/[0-9]*.ipynb")]


def reference_pages() -> dict[str, str]:
    """Page of the reference to its text: one for the top, one for each namespace."""
    pages = {"reference/kerastl.md": _reference("", kerastl)}
    for namespace in sorted(NAMESPACES):
        module = getattr(kerastl, namespace)
        pages[f"reference/{namespace}.md"] = _reference(namespace, module)
    return pages


def _reference(namespace: str, module: ModuleType) -> str:
    names = [name for name in PUBLIC if name.rpartition(".")[0] == namespace]
    title = f"kerastl.{namespace}".rstrip(".")
    # Small letters after capitals: functions are what most readers look for.
    names.sort(key=lambda name: (inspect.isclass(PUBLIC[name]), name.lower()))
    entries = "\n\n".join(f"::: kerastl.{name}" for name in names)
    # Above other pages where a name is searched for.
    front = "---\nsearch:\n  boost: 4\n---\n"
    return f"{front}# {title}\n\n{inspect.getdoc(module)}\n\n{entries}\n"


def on_config(config: MkDocsConfig) -> None:
    """Say what stands where in the menu."""
    tables = [path for path in _under("benchmarks/*.md") if "README" not in path]
    config.nav = [
        {"Home": "README.md"},
        {"How to": how_to_pages()},
        {"Course": ["notebooks/README.md", *course_pages(), "notebooks/CLAIMS.md"]},
        {"Reference": [*reference_pages(), *FURTHER]},
        {"Benchmarks": ["benchmarks/README.md", *tables]},
        {
            "Design": [
                *(f"docs/{name}.md" for name in ELSEWHERE),
                "CONTRIBUTING.md",
                "CHANGELOG.md",
            ]
        },
    ]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Take the pages from where they lie in the repository."""
    named = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", *FURTHER]
    named += _under("docs/*.md") + _under("benchmarks/*.md") + _under("examples/*.py")
    named += _under("notebooks/*.md") + _under("notebooks/[0-9]*.ipynb")
    for path in named:
        if (ROOT / path).exists():
            files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    for path, text in reference_pages().items():
        files.append(File.generated(config, path, content=text))
    for path in course_pages():
        solved = ROOT / "notebooks" / "solutions" / f"{Path(path).stem}.ipynb"
        page = lesson_pages.render(solved)
        files.append(File.generated(config, path, content=page.text))
        for name, data in page.figures.items():
            path = f"notebooks/figures/{name}"
            files.append(File.generated(config, path, content=data))
    return files


def on_page_markdown(markdown: str, page: Any, **kwargs: Any) -> str:
    """Point at the pages of lessons; their own pages point at the notebooks."""
    if page.file.src_uri in course_pages():
        return markdown
    return re.sub(r"\b(\d\d_\w+)\.ipynb\)", r"\1.md)", markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site that loads from elsewhere, or whose search misses a name."""
    site = Path(config.site_dir)
    if foreign := site_checks.foreign_loads(site):
        raise PluginError("loaded from other hosts: " + "; ".join(foreign))
    if missing := site_checks.names_not_found(site, PUBLIC):
        raise PluginError("not found by the search: " + ", ".join(missing))
