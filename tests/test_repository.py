"""What the repository may hold: small files, no machine's paths, commands that work."""

import re
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MEGABYTE = 1_000_000

if shutil.which("git") is None or not (ROOT / ".git").exists():
    pytest.skip("needs the repository, not a copy of it", allow_module_level=True)

LISTED = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
).stdout.split("\0")
FILES = [ROOT / name for name in LISTED if name and (ROOT / name).is_file()]


def text_of(path):
    """The file's text, or an empty string when it is binary."""
    data = path.read_bytes()
    return "" if b"\0" in data else data.decode("utf-8")


def matches(pattern):
    """Where `pattern` occurs in the files, this one aside."""
    return [
        f"{path.relative_to(ROOT)}: {found[0]}"
        for path in FILES
        if path != Path(__file__) and (found := re.search(pattern, text_of(path)))
    ]


def readme_commands():
    """The lines of the README's shell blocks, without prompts and comments."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:bash|sh|console)\n(.*?)```", text, flags=re.S)
    lines = [line.removeprefix("$ ").strip() for line in "\n".join(blocks).split("\n")]
    return [line for line in lines if line and not line.startswith("#")]


def test_no_file_names_a_place_on_one_machine():
    home = r"(?<![\w./])/(?:home|root|Users|work|tmp|mnt|opt|scratch)/[\w.]"
    assert not matches(home)
    assert not matches(r"[A-Z]:\\Users\\")


def test_no_file_names_a_package_registry():
    address = (
        r"(?:extra-)?index-url|find-links|trusted-host|://[\w.-]*pypi[\w.-]*/simple"
    )
    assert not matches(address)


def test_no_file_is_large():
    # The bundled network of texts has a test of its own.
    large = {p.name: p.stat().st_size for p in FILES if p.stat().st_size > 2 * MEGABYTE}
    assert set(large) <= {"texts.keras"}


def test_the_bundled_weights_are_small():
    weights = [p for p in FILES if p.suffix in {".npz", ".h5", ".keras", ".npy"}]
    assert sum(path.stat().st_size for path in weights) < 16 * MEGABYTE


def test_text_ends_with_one_newline_and_no_trailing_blanks():
    texts = {path.name: text_of(path) for path in FILES}
    assert not [n for n, text in texts.items() if text and not text.endswith("\n")]
    assert not [n for n, text in texts.items() if re.search(r"[ \t]+$", text, re.M)]


def test_readme_commands_exist():
    from kerastl.cli.program import build_parser

    commands = build_parser()._subparsers._group_actions[0].choices
    used = re.findall(r"\bkerastl (\w+)", "\n".join(readme_commands()))
    assert used
    assert set(used) <= set(commands)


def test_readme_options_exist():
    from kerastl.cli.program import build_parser

    commands = build_parser()._subparsers._group_actions[0].choices
    for line in readme_commands():
        for name, rest in re.findall(r"\bkerastl (\w+)([^&|;]*)", line):
            options = set(re.findall(r"(?<!\S)--[\w-]+", rest))
            assert options <= set(commands[name]._option_string_actions), line


def test_readme_paths_exist():
    paths = re.findall(
        r"(?<!\S)(?:data|benchmarks|tests|notebooks|\.ci)/[\w./-]*",
        "\n".join(readme_commands()),
    )
    assert not [path for path in paths if not (ROOT / path).exists()]


def test_ci_runs_the_test_command_of_the_readme():
    command = next(line for line in readme_commands() if line.endswith("-m pytest"))
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "README.md" in script or command in script


def test_requirements_are_exact_and_cover_what_setup_asks_for():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", line) for line in pins)
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    asked = setup["options"]["install_requires"]
    asked += "\n".join(setup["options.extras_require"].values())
    names = set(re.findall(r"^([a-z][\w-]*)", asked, flags=re.M))
    assert names <= {line.split("==")[0] for line in pins}


def test_the_oldest_set_is_the_oldest_that_setup_allows():
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = setup["options.extras_require"]
    asked = "\n".join(
        [setup["options"]["install_requires"], extras["jax"], extras["test"]]
    )
    pins = (ROOT / ".ci" / "oldest.txt").read_text(encoding="utf-8")
    for name, least in re.findall(r"^([a-z][\w-]*)>=([\d.]+)$", asked, flags=re.M):
        [pin] = re.findall(rf"^{name}==([\d.]+)$", pins, flags=re.M)
        assert pin == least or pin.startswith(f"{least}.0"), name


def test_setup_asks_for_ranges_without_upper_limits():
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    # A limit or an exact version here would replace what Colab has installed.
    assert not re.search(r"<|==|~=", setup["options"]["install_requires"])
