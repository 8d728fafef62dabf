"""Likely bugs and hard places in Python, by its syntax tree alone: nothing is compiled, imported or run."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from itertools import pairwise

import msgspec

from surefoot.errors import BadRequest

LINES, ARGUMENTS, DEPTH = 50, 7, 4  # of a function: more does not fit a screen or a head
_Function = ast.FunctionDef | ast.AsyncFunctionDef
CHANGES = frozenset({"remove", "append", "pop", "insert", "clear", "add", "discard"})
_ENDS = (ast.Return, ast.Raise, ast.Break, ast.Continue)


class CodeFinding(msgspec.Struct, frozen=True):
    """One thing that is wrong."""

    line: int
    problem: str
    advice: str


def parsed(source: str) -> ast.Module:
    """The syntax tree. Raises BadRequest, with the line, for what is no Python."""
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise BadRequest(f"line {error.lineno}: no Python: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise BadRequest(f"no Python that can be read: {error or type(error).__name__}") from error


def bugs(tree: ast.Module) -> list[CodeFinding]:
    """What is likely wrong."""
    return sorted((one for node in ast.walk(tree) for rule in BUGS for one in rule(node)), key=lambda one: one.line)


def hard_to_read(tree: ast.Module) -> list[CodeFinding]:
    """What a reviewer would ask to change."""
    return sorted((one for node in ast.walk(tree) if isinstance(node, _Function) for one in _hard(node)), key=lambda one: one.line)


def _hard(node: _Function) -> Iterator[CodeFinding]:
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    arguments = len(node.args.posonlyargs) + len(node.args.args) + len(node.args.kwonlyargs)
    if lines > LINES:
        yield CodeFinding(node.lineno, f"{node.name} has {lines} lines", f"split it: at most {LINES}")
    if arguments > ARGUMENTS:
        yield CodeFinding(node.lineno, f"{node.name} takes {arguments} arguments", f"at most {ARGUMENTS}; group what belongs together")
    if (depth := _depth(node)) > DEPTH:
        yield CodeFinding(node.lineno, f"{node.name} is nested {depth} deep", "return early, or give the inside a name")
    if ast.get_docstring(node) is None and not node.name.startswith("_"):
        yield CodeFinding(node.lineno, f"{node.name} has no docstring", "say what it does and what it raises")


def _depth(node: ast.AST) -> int:
    deeper = isinstance(node, ast.If | ast.For | ast.AsyncFor | ast.While | ast.With | ast.AsyncWith | ast.Try)
    inside = (_depth(one) for one in ast.iter_child_nodes(node) if not isinstance(one, _Function | ast.ClassDef))
    return deeper + max(inside, default=0)


def _mutable_default(node: ast.AST) -> Iterator[CodeFinding]:
    if isinstance(node, _Function | ast.Lambda):
        for default in (*node.args.defaults, *node.args.kw_defaults):
            is_made = isinstance(default, ast.Call) and isinstance(default.func, ast.Name) and default.func.id in {"list", "dict", "set"}
            if default is not None and (is_made or isinstance(default, ast.List | ast.Dict | ast.Set)):
                yield CodeFinding(default.lineno, "a mutable default is shared by all calls", "default to None and make it inside")


def _bare_except(node: ast.AST) -> Iterator[CodeFinding]:
    if isinstance(node, ast.ExceptHandler):
        names = {one.id for one in ast.walk(node.type) if isinstance(one, ast.Name)} if node.type is not None else {"BaseException"}
        is_silent = all(isinstance(one, ast.Pass) for one in node.body)
        if "BaseException" in names and not any(isinstance(one, ast.Raise) for one in ast.walk(node)):
            yield CodeFinding(node.lineno, "this catches Ctrl-C and exits too", "name the errors, or `except Exception`")
        elif "Exception" in names and is_silent:
            yield CodeFinding(node.lineno, "every error is swallowed in silence", "name the error that is meant, or log it")


def _comparison(node: ast.AST) -> Iterator[CodeFinding]:
    if not isinstance(node, ast.Compare):
        return
    sides = [node.left, *node.comparators]
    for at, (left, right) in enumerate(pairwise(sides)):
        literals = [one.value for one in (left, right) if isinstance(one, ast.Constant)]
        if isinstance(node.ops[at], ast.Is | ast.IsNot):
            if any(isinstance(one, str | bytes | int | float) and not isinstance(one, bool) for one in literals):
                yield CodeFinding(node.lineno, "`is` compares identity, not value", "use == or !=")
        elif isinstance(node.ops[at], ast.Eq | ast.NotEq) and None in literals:
            yield CodeFinding(node.lineno, "== None asks the other side's __eq__", "use `is None` or `is not None`")
        if (
            isinstance(left, ast.Name)
            and isinstance(right, ast.Name)
            and left.id == right.id
            and isinstance(node.ops[at], ast.Eq | ast.Lt | ast.Gt)
        ):
            yield CodeFinding(node.lineno, f"{left.id} is compared with itself", "name the other side; for NaN use math.isnan")


def _unreachable(node: ast.AST) -> Iterator[CodeFinding]:
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if isinstance(block, list):
            for before, after in pairwise(block):
                if isinstance(before, _ENDS):
                    yield CodeFinding(after.lineno, "this line is never reached", "remove it, or what ends the block before it")
                    break


def _always_true(node: ast.AST) -> Iterator[CodeFinding]:
    if isinstance(node, ast.Assert | ast.If | ast.While) and isinstance(node.test, ast.Tuple) and node.test.elts:
        yield CodeFinding(node.lineno, "a tuple is always true", "take the parentheses away")
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
        compared, *others = node.values
        if isinstance(compared, ast.Compare) and any(isinstance(one, ast.Constant) and one.value for one in others):
            yield CodeFinding(node.lineno, "`x == a or b` is always true", "write `x in (a, b)`")


def _duplicate_keys(node: ast.AST) -> Iterator[CodeFinding]:
    if isinstance(node, ast.Dict):
        seen: set[str] = set()
        for key in node.keys:
            if isinstance(key, ast.Constant):
                if repr(key.value) in seen:
                    yield CodeFinding(key.lineno, f"the key {key.value!r} stands there twice", "the first one is lost; remove one")
                seen.add(repr(key.value))


def _inside(node: ast.For) -> Iterator[ast.AST]:
    return (one for statement in node.body for one in ast.walk(statement))


def _late_binding(node: ast.AST) -> Iterator[CodeFinding]:
    if not (isinstance(node, ast.For) and isinstance(node.target, ast.Name)):
        return
    name = node.target.id
    for one in (each for each in _inside(node) if isinstance(each, ast.Lambda)):
        is_bound = name in {argument.arg for argument in one.args.args}
        if not is_bound and any(isinstance(each, ast.Name) and each.id == name for each in ast.walk(one.body)):
            yield CodeFinding(one.lineno, f"every lambda sees the last {name}", f"bind it: lambda {name}={name}: ...")


def _changed_while_read(node: ast.AST) -> Iterator[CodeFinding]:
    if not (isinstance(node, ast.For) and isinstance(node.iter, ast.Name)):
        return
    name = node.iter.id
    for one in (each.func for each in _inside(node) if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute)):
        if isinstance(one.value, ast.Name) and one.value.id == name and one.attr in CHANGES:
            yield CodeFinding(one.lineno, f"{name} changes while it is iterated", f"iterate over list({name})")


def _swallowed_return(node: ast.AST) -> Iterator[CodeFinding]:
    if isinstance(node, ast.Try):
        for one in node.finalbody:
            if isinstance(one, ast.Return | ast.Break | ast.Continue):
                yield CodeFinding(one.lineno, "this swallows an error under way", "take it out of `finally`")


def _dangerous(node: ast.AST) -> Iterator[CodeFinding]:
    if not isinstance(node, ast.Call):
        return
    name = ast.unparse(node.func)
    if name in {"eval", "exec", "pickle.loads", "pickle.load", "os.system"} and not (node.args and isinstance(node.args[0], ast.Constant)):
        yield CodeFinding(node.lineno, f"{name} runs what it is given", "parse it instead, or pass a list to subprocess.run")
    for word in node.keywords:
        if isinstance(word.value, ast.Constant) and ((word.arg, word.value.value) in {("shell", True), ("verify", False)}):
            problem = "the shell reads what is in the text" if word.arg == "shell" else "anybody may pose as the server"
            yield CodeFinding(node.lineno, f"{ast.unparse(word)}: {problem}", "leave it out")


BUGS: tuple[Callable[[ast.AST], Iterator[CodeFinding]], ...] = (
    _mutable_default, _bare_except, _comparison, _unreachable, _always_true, _duplicate_keys, _late_binding, _changed_while_read,
    _swallowed_return, _dangerous,
)  # fmt: skip
