"""Options from a function's signature and docstring, read without importing it.

The source is parsed instead: importing the library takes seconds, `--help` must not.
"""

import argparse
import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import kerastl

#: The default of a parameter that must be given.
REQUIRED = object()

# Called with the steps done, or of types that no command line can hold.
_NOT_OPTIONS = {"self", "progress", "verbose", "preprocessing", "loss", "store"}
_NUMBERS = {"int": int, "float": float}
_MANY = {"Sequence", "list"}


#: Options that can be written in two ways; what is long and first names the value.
_NAMES = {"output": ("-o", "--output"), "labels": ("--labels", "--label")}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a function.

    Attributes:
        name: As in Python.
        kinds: Names of the types that it, or each of several values, may have.
        many: Whether it may be several values.
        alone: Whether it may be one value.
        choices: The only values, where its type is a `Literal`.
        default: Its default, or `REQUIRED`.
        text: What the docstring says of it, in the command line's words.
        positional: Whether it may be given by its place.
    """

    name: str
    kinds: set[str]
    many: bool
    alone: bool
    choices: list[str] | None
    default: Any
    text: str
    positional: bool

    @property
    def flag(self) -> str:
        """The option's long name."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def metavar(self) -> str:
        """What stands for its value in the help."""
        return self.name.removesuffix("s" if self.many else "").upper()

    @property
    def word(self) -> str:
        """Its word in the line of usage."""
        if not self.positional:
            return f"{self.flag} {self.metavar}"
        return self.metavar if self.default is REQUIRED else f"[{self.metavar}]"

    def add_to(self, parser: argparse.ArgumentParser) -> argparse.Action:
        """Add it to a parser."""
        settings: dict[str, Any] = {"help": self.text.replace("%", "%%")}
        if self.kinds == {"bool"}:
            switch = argparse.BooleanOptionalAction if self.default else "store_true"
            return parser.add_argument(self.flag, action=switch, **settings)
        settings |= {"type": self.convert, "choices": self.choices}
        settings["metavar"] = self.metavar
        if self.many:
            settings["nargs"] = "+"
        if self.positional:
            if self.default is not REQUIRED:
                settings |= {"nargs": "?", "default": self.default}
            return parser.add_argument(self.name, **settings)
        if self.default is REQUIRED:
            settings["required"] = True
        elif self.default is not None:
            settings["help"] += f" (default: {self.default})"
        names = _NAMES.get(self.name, (self.flag,))
        return parser.add_argument(*names, **settings)

    def convert(self, text: str) -> Any:
        """The value that a word stands for.

        Raises:
            argparse.ArgumentTypeError: If it is no number, or too small a one.
        """
        if text == "none" and self.kinds & {"None", "Any"}:
            return None
        is_text = not self.kinds <= {*_NUMBERS, "None"}
        for name, number in _NUMBERS.items():
            if name in self.kinds:
                try:
                    value = number(text)
                except ValueError:
                    continue
                least = 0 if self.name in ("seed", "port") else 1
                if name == "int" and not is_text and value < least:
                    message = f"must be at least {least}, not {value}"
                    raise argparse.ArgumentTypeError(message)
                return value
        if is_text:
            return text
        word = "a number" if "float" in self.kinds else "a whole number"
        raise argparse.ArgumentTypeError(f"must be {word}, not {text!r}")

    def value(self, parsed: Any) -> Any:
        """What was parsed, as the function takes it: alone, if it may be one."""
        alone = self.many and self.alone and len(parsed) == 1
        return parsed[0] if alone else parsed


@cache
def _tree(module: str) -> ast.Module:
    place = Path(kerastl.__file__).parent.joinpath(*module.split(".")[1:])
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


def _definition(module: str, name: str) -> tuple[str, Any]:
    """The module and node that define a module's name; the node None if unknown."""
    for node in _tree(module).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return module, node
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return module, node.value
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("kerastl"):
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    return _definition(str(node.module), alias.name)
    return module, None


def _kinds(module: str, node: ast.expr | None) -> Iterator[tuple[str, str]]:
    """(kind, how) for each part of an annotation; how: "one", "many" or "choice"."""
    match node:
        case ast.BinOp():
            yield from _kinds(module, node.left)
            yield from _kinds(module, node.right)
        case ast.Subscript(value=ast.Name(id=name)) if name in _MANY:
            yield from ((kind, "many") for kind, _ in _kinds(module, node.slice))
        case ast.Subscript(value=ast.Name(id="Literal")):
            parts = getattr(node.slice, "elts", [node.slice])
            yield from ((part.value, "choice") for part in parts)
        case ast.Subscript():
            return  # A mapping or a tuple: not for a command line.
        case ast.Name(id=name):
            holder, found = _definition(module, name)
            alias = isinstance(found, ast.BinOp | ast.Subscript)
            yield from _kinds(holder, found) if alias else [(name, "one")]
        case ast.expr():
            yield ast.unparse(node), "one"


def _default(module: str, node: ast.expr) -> Any:
    """A default as it stands in the source; that of a constant, its value."""
    if isinstance(node, ast.Name):
        _, found = _definition(module, node.id)
        node = found or node
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


def _texts(function: ast.FunctionDef) -> dict[str, str]:
    """What the docstring's section of arguments says of each."""
    lines = (ast.get_docstring(function) or "").partition("\nArgs:\n")[2]
    section = re.split(r"\n\n\S", lines)[0]
    found = re.findall(r"^    (\w+): (.+(?:\n {5,}.+|\n(?= {5}))*)", section, re.M)
    return {name: " ".join(text.split()) for name, text in found}


def _followed(text: str, name: str, depth: int = 3) -> str:
    """A text with what the functions it points to say of the parameter `name`."""

    def follow(found: re.Match[str]) -> str:
        module = kerastl._PUBLIC.get(found[1])
        _, function = _definition(module, found[1]) if module else ("", None)
        if not isinstance(function, ast.FunctionDef) or not depth:
            return found[0]
        other = _texts(function).get(name)
        if other is None:
            return found[0]
        other = _followed(other, name, depth - 1)
        if found[0] == text:
            return other
        return (": " if found[0][0] in ":," else "") + other.removesuffix(".")

    alone = re.sub(r"^[^:;.]*: see `(\w+)`\.$", follow, text)
    if alone != text:
        return alone
    return re.sub(r"(?:[:,] )?\b(?:[Ss]ee|[Aa]s in|[Aa]s for) `(\w+)`", follow, text)


#: Of what a docstring offers: Python objects, which no command line can hold.
_FOR_PYTHON = (
    ", or a `kerastl.tasks.Task`",
    ", or a functional `keras.Model`",
    ", or `keras.Model`",
    " Or a function of the model that returns a list of phases",
    ", or an `Augmentation`",
    " A `FeatureCache` brings what was computed before.",
    ", or what `device_strategy` gives",
    ", and lists it in `left_out` of what is returned",
    ", or an optimizer whose settings are copied; not one of `layerwise_optimizer`: "
    "the sweep has one rate for all",
    " (`add_lora`)",
    ": see `smooth_losses`",
    ": see `train_only`",
    ": see `depth_profile`",
    " a tuple of names (exactly those);",
    ", backbones and classifiers (`keras.Model`), or a mapping of labels to either",
)
#: What is written otherwise in a shell.
_IN_A_SHELL = {
    "list_backbones()": "kerastl backbones",
    "backbone_table": "kerastl backbones",
    "`cut_points(backbone)`": "what kerastl advise lists as cuts",
    "see `advise`": "see kerastl advise",
    "one number or `(height, width)`": "the side of a square",
    ".; ": "; ",
    '`"': "",
    '"`': "",
    "`": "",
    "None": "none",
}


def _in_words_of_a_shell(text: str) -> str:
    for phrase in _FOR_PYTHON:
        text = text.replace(phrase, "")
    for python, shell in _IN_A_SHELL.items():
        text = text.replace(python, shell)
    return text


def parameters(function: str) -> list[Parameter]:
    """The parameters of a function that options can be made of.

    Args:
        function: `"module:name"` below kerastl, and the names of the only parameters
            to take, if not all, each after a space.
    """
    path, *only = function.split()
    module, _, name = path.partition(":")
    module, node = _definition(f"kerastl.{module}", name)
    texts, made = _texts(node), []
    by_place = len(node.args.args)
    arguments = [*node.args.args, *node.args.kwonlyargs]
    required = [None] * (by_place - len(node.args.defaults))
    defaults = [*required, *node.args.defaults, *node.args.kw_defaults]
    for number, (argument, default) in enumerate(zip(arguments, defaults, strict=True)):
        name = argument.arg
        if name in _NOT_OPTIONS or (only and name not in only):
            continue
        kinds = list(_kinds(module, argument.annotation))
        made.append(
            Parameter(
                name,
                kinds={kind for kind, _ in kinds},
                many=any(how == "many" for _, how in kinds),
                alone=any(how == "one" and kind != "None" for kind, how in kinds),
                choices=[kind for kind, how in kinds if how == "choice"] or None,
                default=REQUIRED if default is None else _default(module, default),
                text=_in_words_of_a_shell(_followed(texts.get(name, ""), name)),
                positional=number < by_place,
            )
        )
    return made
