"""The course's scripts are no package: they lie beside the notebooks."""

import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
sys.path.insert(0, str(FOLDER))

LESSON = """\
# %% [markdown]
# # 09 A lesson
#
# Its question.

# %%
from kerastl import teach

SETTINGS = {"dataset": ("shapes", "flowers")}
L = teach.lesson("09", SETTINGS)

# %%
teach.predict("09.a", "How many?", guess=3)  # guess: a number
teach.reveal("09.a", 2)

# %% tags=["stub"]
two = ...

# %% tags=["wrong"]
two = 3  # odd

# %% tags=["wrong"]
two = -2  # below zero

# %% tags=["solution"]
two = 2

# %% tags=["check"]
teach.check(
    "09.1",
    two,
    [(lambda n: n > 0, "Above zero."), (lambda n: n % 2 == 0, "Even.")],
)

# %% [markdown] tags=["quiz"]
# Prose with
#
# - a list.
#
# **Quick question.** Which?
#
# - [ ] This :: Because of a reason
#   in two lines.
# - [x] That :: It is.
# - [ ] Neither :: One of them is.

# %% [markdown] tags=["teacher"]
# ## Timing
#
# Two minutes.
"""


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A folder of notebooks with one small lesson, in place of the real one."""
    import build
    import lesson_files

    folder = tmp_path / "notebooks"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "09_a_lesson.py").write_text(LESSON, encoding="utf-8")
    monkeypatch.setattr(lesson_files, "FOLDER", folder)
    monkeypatch.setattr(build, "FOLDER", folder)
    return folder


@pytest.fixture
def source(course):
    return course / "src" / "09_a_lesson.py"
