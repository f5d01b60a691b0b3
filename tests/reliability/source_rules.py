"""Rules about our own source, each a function from a parsed file to the places that break it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import actors
import meerkat

FORBIDDEN_MODULES: Final = frozenset(
    {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "copyreg", "dbm"}
)
"""What makes objects, or code, of bytes."""

FORBIDDEN_CALLS: Final = frozenset({"eval", "exec", "compile", "__import__"})
"""Built-in functions that run text."""

BOUND_TO_BE_WORDS: Final = frozenset({("open_writer", "synchronous")})
"""Parameters that a statement may be formatted with: PRAGMA takes no bound ones, and this is a
member of an enumeration of ours."""

_SQL: Final = re.compile(
    r"\b(SELECT|INSERT|UPDATE|DELETE|REPLACE|CREATE|ALTER|DROP|ATTACH|PRAGMA|VACUUM|WHERE|VALUES)\b"
)
_FORMATTING: Final = frozenset({"format", "format_map", "join", "replace"})
_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Every file of both packages, parsed."""
    for package in (meerkat, actors):
        folder = Path(next(iter(package.__path__)))
        for path in sorted(folder.rglob("*.py")):
            yield str(path.relative_to(folder.parent)), ast.parse(path.read_text())


def object_makers(tree: ast.AST) -> list[str]:
    """Imports and calls by which bytes or text could become objects or code."""
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                modules = [each.name for each in names]
            case ast.ImportFrom(module=str(module)):
                modules = [module]
            case ast.Call(func=ast.Name(id=name)) if name in FORBIDDEN_CALLS:
                modules, _ = [], found.append(f"line {node.lineno}: {name}(…)")
            case _:
                continue
        found += [
            f"line {node.lineno}: {module}"
            for module in modules
            if module.partition(".")[0] in FORBIDDEN_MODULES
        ]
    return found


def formatted_statements(tree: ast.AST) -> list[str]:
    """SQL that a function puts together of anything but constants.

    One that nothing calls but the making of a constant may use what it is given.
    """
    called = _called_by_functions(tree)
    return [
        f"line {node.lineno}: {ast.unparse(node)}"
        for function in ast.walk(tree)
        if isinstance(function, _Function) and getattr(function, "name", "") in called
        for node in ast.walk(function)
        for part in _parts(node)
        if not _is_constant(part, function)
    ]


def _called_by_functions(tree: ast.AST) -> set[str]:
    """The names of functions, but for those of one module that it uses at its import alone."""
    uses: dict[str, set[str]] = {}
    for function in ast.walk(tree):
        if isinstance(function, _Function):
            uses.setdefault(getattr(function, "name", ""), set()).update(_named_in(function))
    called = {name for name in uses if name.startswith("__") or not name.startswith("_")} | {""}
    while found := {name for each in called for name in uses.get(each, ())} & uses.keys() - called:
        called |= found
    return called


def _named_in(function: ast.AST) -> Iterable[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.Name | ast.Attribute):
            yield node.id if isinstance(node, ast.Name) else node.attr


def statements(tree: ast.AST) -> int:
    """How many texts of SQL there are."""
    return sum(
        isinstance(node, ast.Constant) and bool(_SQL.search(str(node.value)))
        for node in ast.walk(tree)
    )


def _parts(node: ast.AST) -> Iterable[ast.expr]:
    """What is put into a text of SQL, by whichever way texts are put together."""
    if not _SQL.search(_text_in(node)):
        return ()
    match node:
        case ast.JoinedStr(values=values):
            return [each.value for each in values if isinstance(each, ast.FormattedValue)]
        case ast.BinOp(op=ast.Add() | ast.Mod(), left=left, right=right):
            return [left, right]
        case ast.Call(func=ast.Attribute(attr=name), args=args, keywords=keywords):
            if name in _FORMATTING:
                return [*args, *(each.value for each in keywords)]
    return ()


def _text_in(node: ast.AST) -> str:
    match node:
        case ast.JoinedStr(values=values):
            texts: list[Any] = [each.value for each in values if isinstance(each, ast.Constant)]
        case ast.BinOp(left=left, right=right):
            return f"{_text_in(left)} {_text_in(right)}"
        case ast.Call(func=ast.Attribute(value=value)):
            return _text_in(value)
        case ast.Constant(value=value):
            texts = [value]
        case _:
            return ""
    return " ".join(map(str, texts))


def _is_constant(part: ast.expr, function: _Function) -> bool:
    """Is it a constant of the module, or one of the texts that the function chooses from?"""
    match part:
        case ast.Constant():
            return True
        case ast.Name(id=name):
            words = (getattr(function, "name", ""), name) in BOUND_TO_BE_WORDS
            return words or name.isupper() or _is_chosen(name, function)
        case ast.UnaryOp(operand=operand):
            return _is_constant(operand, function)
        case ast.IfExp(body=body, orelse=other):
            return _is_constant(body, function) and _is_constant(other, function)
    return False


def _is_chosen(name: str, function: _Function) -> bool:
    given = [
        value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign)
        for target in node.targets
        for value in _given(target, node.value, name)
    ]
    return bool(given) and all(_is_constant(value, function) for value in given)


def _given(target: ast.expr, value: ast.expr, name: str) -> list[ast.expr]:
    match target, value:
        case ast.Name(id=found), _ if found == name:
            return [value]
        case ast.Tuple(elts=targets), ast.Tuple(elts=values):
            return [
                each
                for inner, one in zip(targets, values, strict=True)
                for each in _given(inner, one, name)
            ]
        case ast.Tuple(), ast.IfExp(body=body, orelse=other):
            return [*_given(target, body, name), *_given(target, other, name)]
    return []
