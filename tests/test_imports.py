"""No import circle anywhere: neither between modules nor between folders, imports inside functions and for types included."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
Graph = dict[str, dict[str, str]]


def modules() -> dict[str, Path]:
    found = {}
    for base in ("src", "integrations", "pipelines", "eval"):
        for path in sorted((ROOT / base).rglob("*.py")):
            if "__pycache__" not in path.parts:
                found[".".join(path.relative_to(ROOT / base).with_suffix("").parts).removesuffix(".__init__")] = path
    return found


def imports(known: dict[str, Path]) -> Graph:
    """module -> what it imports -> where."""
    graph: Graph = {name: {} for name in known}
    for name, path in known.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                wanted = [f"{node.module}.{one.name}" if f"{node.module}.{one.name}" in known else node.module for one in node.names]
            elif isinstance(node, ast.Import):
                wanted = [one.name for one in node.names]
            else:
                continue
            for one in wanted:
                if one in known and one != name:
                    graph[name].setdefault(one, f"{name}:{node.lineno} imports {one}")
    return graph


def folders(graph: Graph) -> Graph:
    """The same between the folders right below a package; a package's own __init__, which loads lazily, is the front door of all."""
    found: Graph = {}
    for name, wanted in graph.items():
        for one, where in wanted.items():
            here, there = (".".join(each.split(".")[:2]) for each in (name, one))
            if here != there and "." in here and "." in there and here.split(".")[0] == there.split(".")[0]:
                found.setdefault(here, {}).setdefault(there, where)
                found.setdefault(there, {})
    return found


def circles(graph: Graph) -> list[list[str]]:
    """The strongly connected parts of more than one node (Tarjan), each as the imports that tie it."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for one in graph[node]:
            if one not in index:
                visit(one)
                low[node] = min(low[node], low[one])
            elif one in stack:
                low[node] = min(low[node], index[one])
        if low[node] == index[node]:
            part = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(part) > 1:
                found.append([where for one in part for other, where in graph[one].items() if other in part])

    for node in graph:
        if node not in index:
            visit(node)
    return found


def test_no_two_modules_import_each_other():
    """A circle is one module in several files: none of them can be read, tested or replaced alone."""
    graph = imports(modules())
    assert len(graph) > 300
    assert circles(graph) == []


def test_no_two_folders_import_each_other():
    """The same for folders: what is above may use what is below."""
    assert circles(folders(imports(modules()))) == []


def test_a_circle_would_be_found():
    """A test that cannot fail protects nothing."""
    assert circles(
        {"a": {"b": "a:1 imports b"}, "b": {"c": "b:1 imports c"}, "c": {"a": "c:1 imports a"}, "d": {"a": "d:1 imports a"}}
    ) == [["a:1 imports b", "b:1 imports c", "c:1 imports a"]]
