"""The import graph is the architecture: arrows only point down."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "kerastl"

# A module may import from its own package and from strictly lower layers.
LAYER = {
    "_checks": -1,
    "_lesson_data": -1,
    "_compat": 0,
    "_files": 0,
    "_json": 0,
    "_lazy": 0,
    "_processes": 0,
    "_progress": 0,
    "_tables": 0,
    "teach": 0,
    "data": 1,
    "models": 1,
    "evaluation": 1,
    "tasks": 2,
    "features": 3,
    "prediction": 4,
    "training": 4,
    "adaptation": 5,
    "selection": 5,
    "comparison": 5,
    "explain": 5,
    "environment": 5,
    "export": 5,
    "evidence": 6,
    "serving": 6,
    "artifacts": 7,
    "workflow": 8,
    "cli": 9,
}
# Imported inside the functions that use them, so that `import kerastl` stays light.
HEAVY = {"tensorflow", "sklearn", "matplotlib", "PIL", "keras_hub", "keras_cv", "jax"}
HEAVY |= {"pandas", "starlette", "uvicorn"}
PRIVATE_KERAS = {
    "_flatten_layers",
    "_layers",
    "_operations",
    "_nodes",
    "_functional",
    "src",
}
# What is run, and what the lessons import.
ENTRANCES = {"kerastl.cli.__main__", "kerastl.cli.program", "kerastl.teach"}
# Used by one module that has room for it, and left alone: two ideas.
LEFT_ALONE = {"kerastl.cli.signatures", "kerastl.data.changes_tensorflow"}
VAGUE = {"utils", "helpers", "common", "base", "core"}
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))


def group(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_by(node):
    """The dotted names that one statement imports."""
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "a relative import"
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


def imports(tree):
    """The dotted names that `tree` imports, those inside functions included."""
    return [name for node in ast.walk(tree) for name in imported_by(node)]


def at_import(tree):
    """The statements of `tree` that run when it is imported."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(
            node.test
        )
        if not typing_only:
            yield node
            yield from at_import(node)


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def each_module(function):
    names = [str(path.relative_to(PACKAGE)) for path in MODULES]
    return pytest.mark.parametrize("path", MODULES, ids=names)(function)


@each_module
def test_imports_point_down(path):
    if path == PACKAGE / "__init__.py":
        return  # It lists names of every layer, and imports them when they are used.
    mine = group(path)
    for name in imports(parse(path)):
        root, _, rest = name.partition(".")
        if root != "kerastl" or not rest:
            # `import kerastl` alone is for the command line, above everything.
            assert root != "kerastl" or mine == "cli", f"{mine} imports all of kerastl"
            continue
        other = rest.split(".")[0]
        if other not in LAYER:  # `from kerastl import transfer`: a public name.
            assert mine == "cli", f"{mine} imports the public name {other}"
            continue
        assert other == mine or LAYER[other] < LAYER[mine], f"{mine} imports {other}"


def test_every_module_has_a_layer():
    found = {group(path) for path in MODULES} - {"__init__"}
    assert found <= set(LAYER)


def test_a_package_holds_a_module():
    packages = [path.parent for path in PACKAGE.glob("*/__init__.py")]
    assert not [path.name for path in packages if len(list(path.glob("*.py"))) == 1]


@each_module
def test_heavy_packages_are_imported_where_they_are_used(path):
    found = [name for node in at_import(parse(path)) for name in imported_by(node)]
    # They are scikit-learn classes, in modules that are loaded when first used.
    classes = path.name in ("alignment.py", "extractor.py")
    allowed = {"sklearn"} if classes else set()
    assert not {name.split(".")[0] for name in found} & (HEAVY - allowed)


@each_module
def test_only_compat_touches_private_keras(path):
    if path.name == "_compat.py":
        return
    tree = parse(path)
    assert not [name for name in imports(tree) if name.startswith("keras.src")]
    reached = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    assert not {node.attr for node in reached} & PRIVATE_KERAS
    # An underscore is for the object itself; `_repr_png_` and its like are IPython's.
    private = [n for n in reached if re.fullmatch(r"_[a-z].*[^_]", n.attr)]
    owners = {ast.unparse(node.value) for node in private}
    assert owners <= {"self", "cls"}


@each_module
def test_no_module_bears_a_public_or_a_vague_name(path):
    import kerastl

    # With lazy attributes, the second access would return the module.
    taken = VAGUE | set(kerastl.__all__) - set(kerastl._NAMESPACES)
    assert path.parent != PACKAGE or path.stem not in taken
    assert path.stem not in VAGUE


@each_module
def test_modules_and_functions_are_short(path):
    assert lines_of(path) <= 700
    long = {
        node.name: length
        for node in ast.walk(parse(path))
        if isinstance(node, ast.FunctionDef) and (length := body_lines(node)) > 60
    }
    assert not long


def body_lines(function):
    """The lines of a function without its signature and its docstring."""
    first = function.body[0]
    documented = ast.get_docstring(function) is not None
    start = first.end_lineno if documented else first.lineno - 1
    return function.end_lineno - start


def wanted_modules():
    """Module -> the modules of the package that it imports."""
    names = {module_name(path): path for path in MODULES}
    return {
        name: {
            found if found in names else found.rpartition(".")[0]
            for found in imports(parse(path))
            if found.startswith("kerastl.")
        }
        for name, path in names.items()
        if name != "kerastl"
    }


def test_modules_import_each_other_in_one_direction():
    wanted = wanted_modules()
    # Takes what nothing imports off, again and again: what stays is a circle.
    while free := [name for name in wanted if not wanted[name] & set(wanted)]:
        for name in free:
            del wanted[name]
    assert not wanted


def test_a_module_is_public_or_has_two_importers():
    wanted, public = wanted_modules(), named_in_tables() | ENTRANCES | LEFT_ALONE
    length = {module_name(path): lines_of(path) for path in MODULES}
    packages = {module_name(path) for path in MODULES if path.stem == "__init__"}
    for name in set(wanted) - packages - public:
        users = [other for other in wanted if name in wanted[other]]
        # What one module alone uses belongs in it, where the two have room.
        too_long = len(users) == 1 and length[name] + length[users[0]] > 700
        assert len(users) > 1 or too_long, f"{name} belongs in what uses it: {users}"


def named_in_tables():
    """Modules that the tables of public names and of saved classes hold, as text."""
    import kerastl

    texts = {
        node.value.partition(":")[0]
        for path in MODULES
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return texts | {f"kerastl.{name}" for name in kerastl._NAMESPACES}


def lines_of(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")
