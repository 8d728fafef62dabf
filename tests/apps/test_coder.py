"""Findings by the syntax tree, docstrings that change no code, and nothing that is ever run."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from apps import coder, findings
from apps.coder import document, main, review, write
from surefoot.errors import BadRequest, InvalidOutput

SICK = {
    "def f(x=[]):\n    return x": "mutable default",
    "f = lambda x={}: x": "mutable default",
    "def f(*, x=set()):\n    return x": "mutable default",
    "try:\n    f()\nexcept:\n    pass": "Ctrl-C",
    "try:\n    f()\nexcept BaseException:\n    log()": "Ctrl-C",
    "try:\n    f()\nexcept Exception:\n    pass": "swallowed",
    "if x is 'a':\n    f()": "identity",
    "if x == None:\n    f()": "None",
    "if x == x:\n    f()": "itself",
    "def f():\n    return 1\n    g()": "never reached",
    "while x:\n    break\n    g()": "never reached",
    "assert (x, 'message')": "always true",
    "if x == 'a' or 'b':\n    f()": "always true",
    "d = {'a': 1, 'a': 2}": "twice",
    "for i in range(3):\n    fs.append(lambda: i)": "last i",
    "for x in xs:\n    xs.remove(x)": "changes while",
    "def f():\n    try:\n        g()\n    finally:\n        return 1": "under way",
    "eval(text)": "runs what",
    "subprocess.run(text, shell=True)": "shell",
    "requests.get(url, verify=False)": "pose",
}
HEALTHY = [
    "def f(x=None, y=(), *, z=1):\n    return x",
    "try:\n    f()\nexcept BaseException:\n    undo()\n    raise",
    "try:\n    f()\nexcept ValueError:\n    pass",
    "if x is None or x is True or x == 0 or y == 'b':\n    f()",
    "if x:\n    return_ = 1\nelse:\n    g()",
    "for i in range(3):\n    fs.append(lambda i=i: i)",
    "for x in list(xs):\n    xs.remove(x)",
    "d = {'a': 1, **other, 'b': 1}",
    "literal = eval('1 + 1')",
]
NEEDS = '''import os


@decorated
class Boat:
    name = "tug"

    async def sail_home(self, port: str, *, speed_kn: float = 5) -> int:
        # a comment
        if not port:
            raise ValueError("no port")
        def inner():
            return 1
        return inner()

    def done(self):
        """Has one."""


def one(): return 1


@decorated
def two():
    @decorated
    def three():
        pass
'''


@pytest.mark.parametrize(("code", "words"), SICK.items())
def test_each_bug_is_found_by_its_line(code, words):
    """One finding, the right one."""
    (found,) = findings.bugs(ast.parse(code))
    assert words in found.problem
    assert 1 <= found.line <= code.count("\n") + 1


def test_healthy_code_has_no_bugs():
    """Neighbours of the bugs, and this application itself."""
    own = [Path(one.__file__).read_text() for one in (coder, findings)]
    assert {code: found for code in (*HEALTHY, *own) if (found := findings.bugs(ast.parse(code)))} == {}


def test_docstrings_come_where_there_are_none_and_the_code_stays(offline):
    """Comments, decorators and one-liners stand as they stood."""
    new = document(NEEDS, offline)
    assert set(NEEDS.splitlines()) <= set(new.splitlines())
    docs = {node.name: ast.get_docstring(node) for _, node in coder._definitions(ast.parse(new))}
    assert docs["sail_home"] == "Sail home. Takes port, speed_kn. Returns int. Raises ValueError."
    assert (docs["Boat"], docs["done"], docs["one"], docs["two"]) == ("Boat.", "Has one.", None, "Two.")
    assert document(new, offline) == new
    own = Path(coder.__file__).read_text()
    assert ast.dump(coder._bare(ast.parse(document(own, offline)))) == ast.dump(coder._bare(ast.parse(own)))


def test_a_models_docstrings_cannot_change_the_code(sim, online):
    """Quotes, backslashes and code in its words stay words; names it invents are dropped."""
    nasty = 'Ends."""\nimport os; os.abort()\n"""\\'
    sim.script([json.dumps({"docstrings": [{"name": "two", "text": nasty}, {"name": "nowhere", "text": "x"}]})])
    new = document(NEEDS, online)
    assert ast.dump(coder._bare(ast.parse(new))) == ast.dump(coder._bare(ast.parse(NEEDS)))
    assert "os.abort" in next(ast.get_docstring(one) for one in ast.walk(ast.parse(new)) if getattr(one, "name", "") == "two")


def test_a_models_findings_must_point_into_the_file(sim, online):
    """Beside those of the rules."""
    said = [{"line": 1, "problem": "off by one", "advice": "range(n)"}, {"line": 9, "problem": "no such line", "advice": ""}]
    sim.script([json.dumps({"findings": said})])
    found = review("for i in range(n + 1):\n    assert (x, i)\n", online, only_bugs=True)
    assert [(one.line, one.problem) for one in found] == [(1, "off by one"), (2, "a tuple is always true")]
    assert "1: for i in range(n + 1):" in sim.requests[-1].json["messages"][-1]["content"]


def test_what_a_model_writes_is_read_and_not_run(sim, online, offline, tmp_path):
    """Its code is checked by its syntax; what is no Python is refused with the text."""
    mark = tmp_path / "ran"
    sim.script([f"Sure:\n```python\nopen({str(mark)!r}, 'w')\ndef f(x=[]): ...\n```", "```python\ndef f(:\n```"])
    code, found = write("a function", online)
    assert code.startswith("open(")
    assert [one.line for one in found] == [2]
    with pytest.raises(InvalidOutput, match="line 1: no Python") as refused:
        write("a function", online)
    assert "def f(:" in refused.value.partial
    assert not mark.exists()
    stub, _ = write("def mean(values: list[float]) -> float: the arithmetic mean", offline)
    assert stub == 'def mean(values: list[float]) -> float:\n    """The arithmetic mean"""\n    raise NotImplementedError\n'


def test_no_line_of_it_could_run_code():
    """Not by a call, not by an import: the words do not occur."""
    for module in (coder, findings):
        tree = ast.parse(Path(module.__file__).read_text())
        called = {ast.unparse(one.func) for one in ast.walk(tree) if isinstance(one, ast.Call)}
        assert not called & {"exec", "eval", "compile", "__import__", "import_module", "run_path", "Popen"}
        imported = {name.name for one in ast.walk(tree) if isinstance(one, ast.Import) for name in one.names}
        assert not imported & {"subprocess", "importlib", "runpy", "os"}


@pytest.mark.parametrize("source", ["def f(:", "x = 'a\0b'", "(" * 5000, "-" * 200_000 + "1"])
def test_what_is_no_python_is_told(source, offline):
    """With its line where there is one; deep nesting is no crash."""
    with pytest.raises(BadRequest, match="no Python"):
        review(source, offline)


def test_the_command_has_exit_code_1_for_findings(keyless, capsys):
    """As linters do; each with its line."""
    (keyless / "sick.py").write_text("def f(x=[]):\n    return x\n")
    assert main(["review", "sick.py"]) == 1
    out, err = capsys.readouterr()
    assert {line.partition(";")[0] for line in out.splitlines()} == {
        "line 1: a mutable default is shared by all calls", "line 1: f has no docstring"
    }  # fmt: skip
    assert "rules on the syntax tree" in err
    assert main(["document", "sick.py"]) == 0
    assert '"""F. Takes x."""' in capsys.readouterr().out
