"""What each command of `surefoot rag` does; each returns its exit code."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from surefoot import ChatModel, EmbedModel
from surefoot.errors import BadRequest
from surefoot_rag.documents import corpus
from surefoot_rag.documents.folder import Skipped, is_complete, listed
from surefoot_rag.documents.readers import READERS
from surefoot_rag.documents.sources import DocumentSource
from surefoot_rag.frameworks import framework, models, show
from surefoot_rag.retrieval.fusion import Fusion, fusion_for
from surefoot_rag.retrieval.indexing import Indexed
from surefoot_rag.retrieval.library import Library

__all__ = ["COMMANDS"]

LEFT_OUT = 3  # exit code; 2 is argparse's


def index(args: argparse.Namespace) -> int:
    """Index a folder or a file."""
    return _indexed(args, [DocumentSource.of(args.docs, replaces_all=args.replace)], [args.docs])


def add(args: argparse.Namespace) -> int:
    """Add files, or replace them."""
    sources = [msgspec.structs.replace(DocumentSource.of(path), is_partial=True) for path in args.paths]
    return _indexed(args, sources, args.paths)


def _indexed(args: argparse.Namespace, sources: Sequence[DocumentSource], paths: Sequence[Any]) -> int:
    folders = [corpus.load(path, unreadable="raise" if args.strict else "skip") for path in paths]
    library = _opened(args, models(args.config)[1], create=True)
    sizes = {"size_chars": args.chunk_chars, "overlap_chars": args.overlap_chars}
    how: dict[str, Any] = {name: value for name, value in sizes.items() if value is not None}
    done = Indexed(0, 0)
    left_out: list[Skipped] = []
    for source, found in zip(sources, folders, strict=True):
        one = framework(args.framework).index(library, found, source=source, say=_say, **how)
        done = Indexed(done.added + one.added, done.removed + one.removed, (*done.refused, *one.refused))
        left_out += found.skipped
    left_out += (Skipped(f"{one.passage.source} [{one.passage.start}:{one.passage.end}]", one.reason, "refused") for one in done.refused)
    count = sum(len(found) for found in folders)
    if args.json:
        skipped = [{"source": one.source, "reason": one.reason, "kind": one.kind} for one in left_out]
        held = {"documents": count, "passages": library.backend.count(), "added": done.added, "removed": done.removed}
        _print({"index": args.index, **held, "left_out": skipped})
    else:
        print(f"{count} documents, {library.backend.count()} passages in {args.index} ({done.added} new, {done.removed} removed)")
        if left_out:
            print(listed(left_out, known=READERS), file=sys.stderr)
    return 0 if is_complete(left_out) else LEFT_OUT


def delete(args: argparse.Namespace) -> int:
    """Delete documents."""
    library = _opened(args, models(args.config)[1])
    gone = framework(args.framework).delete(library, args.ids)
    if args.json:
        _print({"index": args.index, "documents": len(set(args.ids)), "passages": library.backend.count(), "removed": gone})
    else:
        print(f"{len(set(args.ids))} documents deleted, {library.backend.count()} passages left in {args.index} ({gone} removed)")
    return 0


def documents(args: argparse.Namespace) -> int:
    """Show the documents of an index."""
    found = _opened(args, models(args.config)[1]).documents()
    if args.json:
        _print({"index": args.index, "documents": [{"id": name, **about} for name, about in found.items()]})
        return 0
    for name, about in found.items():
        print(f"{name}  ({about['passages']} passages{', from ' + str(about['folder']) if 'folder' in about else ''})")
    print(f"{len(found)} documents in {args.index}")
    return 0


def ask(args: argparse.Namespace) -> int:
    """Answer a question."""
    if not args.question.strip():
        raise BadRequest("the question is empty: nothing was sent; ask something")
    chat, embed = models(args.config)
    options = _options(args, chat, embed)
    library = _opened(args, embed)
    answer = framework(args.framework).answer(library, args.question, chat, **options)
    if args.json:
        _print({"question": args.question, **msgspec.to_builtins(answer)})
    else:
        show(answer)
    return 0


def _options(args: argparse.Namespace, chat: ChatModel, embed: EmbedModel) -> dict[str, Any]:
    """What was asked for beyond the defaults."""
    found: dict[str, Any] = {"k": args.k, "where": _where(args.where), "allowed_hosts": args.allow_host}
    found["refuse_unsupported"] = args.refuse_unsupported
    if args.fusion or args.dense_share is not None:
        fusion = fusion_for(embed.space) if args.dense_share is None else Fusion(other=args.dense_share)
        found["fusion"] = replace(fusion, method=args.fusion) if args.fusion else fusion
    if args.prompt is not None:
        found["prompt"] = args.prompt
    if args.rerank:
        from surefoot_rag.answers.reranking import ChatReranker, CrossEncoder

        found["rerank"] = ChatReranker(chat) if args.rerank == "chat" else CrossEncoder(args.rerank)
    if args.rewrite and args.history is None:
        raise BadRequest("--rewrite: a question is rewritten by the turns before it; name their file with --history; nothing was sent")
    if args.history is not None:
        from surefoot.history import History

        found |= {"history": History(args.history), "conversation": args.conversation}
    if args.rewrite:
        from surefoot_rag.answers.reranking import ChatRewriter

        found["rewrite"] = ChatRewriter(chat)
    return found


def _where(pairs: Sequence[str]) -> dict[str, Any]:
    where: dict[str, Any] = {}
    for pair in pairs:
        name, found, value = pair.partition("=")
        if not found or not name or not value:
            raise BadRequest(f"--where {pair}: want FIELD=VALUE, for example language=tr; nothing was sent")
        where.setdefault(name, []).append(int(value) if value.isdecimal() else value)
    return where


def demo(args: argparse.Namespace) -> int:
    """The sample corpus, asked through both frameworks."""
    from surefoot_rag.demo import run

    if not args.json:
        return run(model=args.model)[0]
    with contextlib.redirect_stdout(sys.stderr):
        code, right, total = run(model=args.model)
    _print({"right": right, "asked": total})
    return code


COMMANDS = {"index": index, "add": add, "delete": delete, "list": documents, "ask": ask, "demo": demo}


def _opened(args: argparse.Namespace, embed: EmbedModel, *, create: bool = False) -> Library:
    return Library(args.index, framework=args.framework, embed=embed, create=create, tenant=args.tenant)


def _say(words: str) -> None:
    print(words, file=sys.stderr)


def _print(found: Mapping[str, Any]) -> None:
    print(json.dumps(found, ensure_ascii=False, indent=1))
