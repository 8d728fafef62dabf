"""`surefoot rag ...` and `surefoot eval ...`: commands of packages beside the core, which parse their own arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec

from surefoot.errors import Misconfigured

PARTS = {
    # command: (package, extra, help)
    "rag": ("surefoot_rag", "rag", "index a folder and ask questions about it, with cited answers"),
    "eval": ("surefoot_eval", "eval", "measure answers and retrieval, compare two runs, gate a change"),
}


def run_part(name: str, argv: Sequence[str]) -> int:
    """Run the part's own command line with `argv`; returns its exit code. Raises Misconfigured where its package is not there."""
    package, extra, _ = PARTS[name]
    if find_spec(package) is None:
        raise Misconfigured(f'`surefoot {name}` needs the package {package}: run  pip install "surefoot[{extra}]"')
    try:
        main: Callable[[Sequence[str]], int] = import_module(f"{package}.__main__").main
    except ModuleNotFoundError as error:
        raise Misconfigured(f'`surefoot {name}` needs {error.name}, not installed here: run  pip install "surefoot[{extra}]"') from error
    return main(argv)
