"""`python -m surefoot_rag index | ask | demo`: the reference pipeline from the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from surefoot import ChatModel, EmbedModel
from surefoot.errors import BadRequest, SurefootError
from surefoot_rag.frameworks import MODULES, check_installed, framework, models, show
from surefoot_rag.retrieval.library import INDEX_DIR, Library

LEFT_OUT = 3  # exit code; 2 is argparse's


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0 done, 1 a clear refusal on stderr, 3 indexed but for documents left out, 130 interrupted."""
    args = _parser().parse_args(argv)
    try:
        check_installed()
        if args.command == "demo":
            from surefoot_rag.demo import run

            return run(model=args.model)
        chat, embed = models(args.config)
        return _index(args, embed) if args.command == "index" else _ask(args, chat, embed)
    except SurefootError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; what was indexed so far is kept", file=sys.stderr)
        return 130


def _index(args: argparse.Namespace, embed: EmbedModel) -> int:
    from surefoot_rag.documents import corpus
    from surefoot_rag.documents.folder import Skipped, is_complete, listed
    from surefoot_rag.documents.readers import READERS
    from surefoot_rag.documents.sources import DocumentSource

    documents = corpus.load(args.docs, unreadable="raise" if args.strict else "skip")
    library = Library(args.index, framework=args.framework, embed=embed, create=True, tenant=args.tenant)
    source = DocumentSource.of(args.docs, replaces_all=args.replace)
    done = framework(args.framework).index(library, documents, source=source, say=lambda words: print(words, file=sys.stderr))
    print(f"{len(documents)} documents, {library.backend.count()} passages in {args.index} ({done.added} new, {done.removed} removed)")
    refused = (Skipped(f"{one.passage.source} [{one.passage.start}:{one.passage.end}]", one.reason, "refused") for one in done.refused)
    left_out = [*documents.skipped, *refused]
    if left_out:
        print(listed(left_out, known=READERS), file=sys.stderr)
    return 0 if is_complete(left_out) else LEFT_OUT


def _ask(args: argparse.Namespace, chat: ChatModel, embed: EmbedModel) -> int:
    if not args.question.strip():
        raise BadRequest("the question is empty: nothing was sent; ask something")
    where: dict[str, list[Any]] = {}
    for pair in args.where:
        name, found, value = pair.partition("=")
        if not found or not name or not value:
            raise BadRequest(f"--where {pair}: want FIELD=VALUE, for example language=tr; nothing was sent")
        where.setdefault(name, []).append(int(value) if value.isdecimal() else value)
    library = Library(args.index, framework=args.framework, embed=embed, tenant=args.tenant)
    show(framework(args.framework).answer(library, args.question, chat, k=args.k, where=where, allowed_hosts=args.allow_host))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m surefoot_rag", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--framework", choices=sorted(MODULES), default="langchain")
    shared.add_argument(
        "--index",
        default=str(INDEX_DIR),
        metavar="DIR|URL",
        help=f"where the index lives: a folder, or http(s)://HOST:PORT of a Chroma server, key in CHROMA_API_KEY (default {INDEX_DIR})",
    )
    shared.add_argument("--config", metavar="surefoot.toml", help="models from a file; left out: the offline defaults")
    shared.add_argument("--tenant", default="", help="whose documents; each tenant has an index of its own")
    index = commands.add_parser("index", parents=[shared], help="index a folder; exit code 3: some documents were left out")
    index.add_argument("--docs", type=Path, required=True, metavar="PATH")
    index.add_argument(
        "--strict", action="store_true", help="stop at the first document that cannot be read; else such are left out and listed"
    )
    index.add_argument(
        "--replace", action="store_true", help="take everything else out of the index, what came from other folders included"
    )
    ask = commands.add_parser("ask", parents=[shared], help="answer a question from the indexed documents")
    ask.add_argument("question")
    ask.add_argument("-k", type=int, default=5, help="passages shown to the model (default 5)")
    ask.add_argument("--where", action="append", default=[], metavar="FIELD=VALUE", help="only passages with it, such as language=tr")
    ask.add_argument("--allow-host", action="append", default=[], metavar="HOST", help="links to it may stand in the answer; others do not")
    demo = commands.add_parser("demo", help="index the sample corpus, ask, and show a failing provider")
    demo.add_argument("--model", default=None, help="for example local:smollm2")
    return parser


if __name__ == "__main__":
    sys.exit(main())
