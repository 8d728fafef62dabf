"""Questions made from documents, ready to be looked through: python -m surefoot_eval generate DOCS --out review.csv

By rule (no key, no model) or by a chat model (`--chat`), and near misses of them, which nothing answers; what words alone cannot find, or
find at a glance, is thrown out (`sieve.py`). `surefoot eval review` then makes questions.jsonl of what you keep.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable

from msgspec.structs import replace

from surefoot import ChatModel, load
from surefoot.errors import Misconfigured
from surefoot_eval.data.formats import beir, squad
from surefoot_eval.data.questions import LabelledQuestion, read
from surefoot_eval.generate import review
from surefoot_eval.generate.candidates import Candidate, Material, documents_of, spread
from surefoot_eval.generate.near_misses import NearMisses
from surefoot_eval.generate.rules import questions
from surefoot_eval.generate.sieve import sieve
from surefoot_eval.generate.written import confirmed, written
from surefoot_rag.documents.language import language_of

__all__ = ["main"]

KINDS = ("questions", "near-misses")


def main(args: argparse.Namespace) -> int:
    """Write the table and say what was thrown out. Raises Misconfigured before anybody is asked."""
    wanted = [one.strip() for one in args.kinds.split(",") if one.strip()]
    unknown = sorted(set(wanted) - set(KINDS))
    if unknown or not wanted:
        raise Misconfigured(f"--kinds {args.kinds}: known are {', '.join(KINDS)}")
    if args.count < 1 or args.deepest < 1 or not args.margin > 1:
        raise Misconfigured("--count and --deepest want a whole number of at least 1, --margin one above 1")
    if args.out.resolve().is_relative_to(args.docs.resolve()) and args.format == "folder":
        raise Misconfigured(f"--out {args.out}: not among the documents, or it would be one of them")
    documents, left_out = documents_of(args.docs, args.format)
    material = Material([one for one in documents if not args.language or one.language == args.language])
    chat = _chat(args)
    made, dropped = _made(args, material, chat) if "questions" in wanted or not args.questions else ([], {})
    kept = sieve(made, material, deepest=args.deepest, margin=args.margin)
    dropped |= kept.dropped
    chosen = spread(kept.kept, args.count, seed=args.seed, document=_document) if "questions" in wanted else []
    misses: list[Candidate] = []
    if "near-misses" in wanted:
        near = NearMisses(material, seed=args.seed)
        sources = _given(args, material) if args.questions else kept.kept
        misses = list(near.of(spread(sources, len(sources), seed=args.seed, document=_document)))[: args.count]
        if near.dropped:
            dropped["near misses that a document may answer"] = near.dropped
        if chat is not None and misses:
            before = len(misses)
            misses = confirmed(chat, misses, material)
            dropped["near misses that the model finds answered"] = before - len(misses)
    found = [*chosen, *misses]
    if not found:
        raise Misconfigured(f"no question is left of {len(made)} ({_told(dropped)}); allow more with --margin or --deepest")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    review.write([replace(one, id=f"{one.kind}-{at:04}") for at, one in enumerate(found, 1)], args.out)
    if args.json:
        print(
            json.dumps({"made": len(made), "questions": len(chosen), "near_misses": len(misses), "dropped": dropped, "out": str(args.out)})
        )
        return 0
    print(f"{len(documents)} documents, {len(material.passages)} passages{'; ' * bool(left_out)}{left_out}")
    print(f"{len(made)} questions made; thrown out: {_told(dropped)}")
    print(f"{len(chosen)} questions and {len(misses)} near misses in {args.out}: write yes or no in the column keep, then")
    print(f"  surefoot eval review {args.out} --docs {args.docs} --out questions.jsonl")
    return 0


def _chat(args: argparse.Namespace) -> ChatModel | None:
    if not args.chat:
        return None
    return load(args.models).chat(args.chat[0]) if args.models else ChatModel(*args.chat)


def _made(args: argparse.Namespace, material: Material, chat: ChatModel | None) -> tuple[list[Candidate], dict[str, int]]:
    """By a model twice as many as are wanted, since the sieve takes some; by rule all there are."""
    if chat is not None:
        return written(chat, material, count=2 * args.count, seed=args.seed)
    return [one for document in material.documents for one in questions(document)], {}


def _given(args: argparse.Namespace, material: Material) -> list[Candidate]:
    """Questions that are there already, of which near misses are to be made."""
    asked: Iterable[LabelledQuestion]
    if args.questions.suffix in {".jsonl", ".csv"} and args.format == "folder":
        asked = read(args.questions, material.text, groups={key: key for key in material.text})
    else:
        texts = squad(args.questions) if args.questions.is_file() else beir(args.questions)
        asked = [LabelledQuestion(query=one, language=language_of(one.text), group=min(one.relevant, default="")) for one in texts.queries]
    return [
        Candidate(
            id=one.query.id, kind="rule", language=one.language, question=one.query.text, document=min(one.query.relevant, default="")
        )
        for one in asked
        if one.query.answerable and not one.earlier
    ]


def _document(one: Candidate) -> str:
    return one.document


def _told(dropped: dict[str, int]) -> str:
    return "; ".join(f"{times} ({reason})" for reason, times in dropped.items() if times) or "none"
