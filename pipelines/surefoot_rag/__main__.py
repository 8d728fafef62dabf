"""`python -m surefoot_rag index | add | delete | list | ask | demo`: the reference pipeline from the command line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from surefoot.errors import SurefootError
from surefoot_rag.frameworks import MODULES, check_installed
from surefoot_rag.retrieval.backends import INDEX_DIR


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0 done, 1 a clear refusal on stderr, 3 indexed but for documents left out, 130 interrupted."""
    args = _parser().parse_args(argv)
    try:
        check_installed()
        from surefoot_rag.commands import COMMANDS

        return COMMANDS[args.command](args)
    except SurefootError as error:
        if args.json:
            print(json.dumps({"error": type(error).__name__, "message": str(error)}, ensure_ascii=False))
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; what was indexed so far is kept", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m surefoot_rag", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    said = argparse.ArgumentParser(add_help=False)
    said.add_argument("--json", action="store_true", help="one JSON object on standard output, errors too")
    shared = argparse.ArgumentParser(add_help=False, parents=[said])
    shared.add_argument(
        "--framework",
        choices=sorted(MODULES),
        default="langchain",
        help="which framework's vector store and splitter work (default langchain)",
    )
    shared.add_argument(
        "--index",
        default=str(INDEX_DIR),
        metavar="DIR|URL",
        help=f"where the index lives: a folder, or http(s)://HOST:PORT of a Chroma server, key in CHROMA_API_KEY (default {INDEX_DIR})",
    )
    shared.add_argument("--config", metavar="surefoot.toml", help="models from a file; left out: the offline defaults")
    shared.add_argument("--tenant", default="", help="whose documents; each tenant has an index of its own")
    cut = argparse.ArgumentParser(add_help=False)
    cut.add_argument("--chunk-chars", type=int, metavar="N", help="the most characters of a passage (default 900)")
    cut.add_argument("--overlap-chars", type=int, metavar="N", help="characters that two passages share (default 0)")
    cut.add_argument(
        "--strict", action="store_true", help="stop at the first document that cannot be read; else such are left out and listed"
    )
    index = commands.add_parser("index", parents=[shared, cut], help="index a folder; exit code 3: some documents were left out")
    index.add_argument("--docs", type=Path, required=True, metavar="PATH", help="a folder of documents")
    index.add_argument(
        "--replace", action="store_true", help="take everything else out of the index, what came from other folders included"
    )
    add = commands.add_parser("add", parents=[shared, cut], help="add files, or replace them; nothing else changes")
    add.add_argument("paths", type=Path, nargs="+", metavar="FILE", help="documents to add, or to read again")
    delete = commands.add_parser("delete", parents=[shared], help="delete documents by their ids")
    delete.add_argument("ids", nargs="+", metavar="ID", help="documents to take out, as `list` prints them")
    commands.add_parser("list", parents=[shared], help="the documents in the index, with their ids")
    _ask(commands.add_parser("ask", parents=[shared], help="answer a question from the indexed documents"))
    demo = commands.add_parser("demo", parents=[said], help="index the sample corpus, ask, and show a failing provider")
    demo.add_argument("--model", default=None, help="for example local:smollm2")
    return parser


def _ask(ask: argparse.ArgumentParser) -> None:
    ask.add_argument("question", help="what to ask; an answer cites its passages")
    ask.add_argument("-k", type=int, default=5, help="passages shown to the model (default 5)")
    ask.add_argument("--where", action="append", default=[], metavar="FIELD=VALUE", help="only passages with it, such as language=tr")
    ask.add_argument("--allow-host", action="append", default=[], metavar="HOST", help="links to it may stand in the answer; others do not")
    ask.add_argument("--prompt", type=Path, metavar="FILE.md", help="a prompt of your own, with # System and # User")
    ask.add_argument("--fusion", choices=("scores", "ranks"), help="how vectors and words are mixed (default scores)")
    ask.add_argument("--dense-share", type=float, metavar="0..1", help="weight of the vectors; left out: as the model was tuned")
    ask.add_argument("--rerank", metavar="chat|MODEL", help="put passages in order by the chat model, or by a cross-encoder")
    ask.add_argument("--refuse-unsupported", action="store_true", help="refuse rather than say what no passage supports")
    ask.add_argument("--history", type=Path, metavar="FILE", help="keep the conversation there, so that questions may follow up")
    ask.add_argument("--conversation", default="default", metavar="NAME", help="which conversation of the file")
    ask.add_argument("--rewrite", action="store_true", help="let the chat model write what follow-ups are searched by")


if __name__ == "__main__":
    sys.exit(main())
