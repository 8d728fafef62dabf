"""`python -m surefoot_eval semantic`: what the semantic cache answers rightly, and what it must not answer, through the whole ChatModel.

The rule was made with the tuning templates, and the threshold is chosen on them; the test templates, the near misses and the freely written
paraphrases were written afterwards and are only measured. Every pair has a tenant of its own: the first question is asked, then the second,
and the scripted model behind would answer each with its own words. The embedding model is a real one.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from surefoot import ChatModel, EmbedModel, Policy, Semantic, runtime
from surefoot.events import CacheHit
from surefoot.settings import THRESHOLDS
from surefoot.testing import Scripted
from surefoot_eval.data.formats import squad
from surefoot_eval.score.stats import Interval, mean_interval
from surefoot_eval.studies.semantic.pairs import Pair, near, templated, written

FALSE_SHARE, USEFUL_SHARE = 0.001, 0.30  # what the test half must show
KEPT_SHARE = 0.95  # of what the rule takes for the same on the tuning half, the threshold keeps at least so much
OPEN = 1e-6  # a threshold that lets everything through, for calibration
PATIENCE_S = 600.0  # here a slow machine must not make misses


def main(args: argparse.Namespace) -> int:
    """Print all figures; exit code 1 if the test half shows less than it must, or anything else hits falsely."""
    embed = EmbedModel(args.model, cache="memory", policy=Policy(deadline_s=None))
    tuning = templated("tuning")
    chosen = _threshold([likeness for pair, likeness in _asked(tuning, embed, OPEN) if likeness is not None and not pair.is_attack])
    default = THRESHOLDS.get(args.model)
    used = args.threshold or default or chosen
    print(f"{args.model}: threshold chosen on the tuning half {chosen:.3f}, default {default or 'none'}, used {used:g}\n")
    held = True
    for name, pairs in (("tuning", tuning), ("test", templated("test")), ("near misses", near()), ("written", written())):
        print(f"## {name}\n")
        false, useful = _report(_asked(pairs, embed, used), show=args.show)
        if name == "test":
            held = false <= FALSE_SHARE and useful >= USEFUL_SHARE
        if name == "near misses":
            held = held and false == 0
    if args.data is not None:
        held = _plugins(args, embed, used) and held
    if args.alone:
        _alone(templated("test"), embed, used)
    verdict = "held" if held else "NOT held"
    print(f"{verdict}: on the test half, false hits at most {FALSE_SHARE:.1%} and useful hits at least {USEFUL_SHARE:.0%}")
    return 0 if held else 1


def _asked(pairs: Sequence[Pair], embed: EmbedModel, threshold: float) -> list[tuple[Pair, float | None]]:
    """Each pair with the cosine at which the second question was given the first one's answer, None for a miss."""
    chat = ChatModel(
        Scripted(lambda call: f"answer to: {call.request.messages[-1].text}"),
        cache="memory",
        semantic=Semantic(embed=embed, threshold=threshold, patience_s=PATIENCE_S),
    )
    hits: list[CacheHit] = []
    chat.subscribe(lambda event: hits.append(event) if isinstance(event, CacheHit) and event.semantic else None, inline=True)

    async def ask() -> list[tuple[Pair, float | None]]:
        found: list[tuple[Pair, float | None]] = []
        for number, pair in enumerate(pairs):
            await chat.ainvoke(pair.known, tenant=str(number))
            hits.clear()
            reply = await chat.ainvoke(pair.asked, tenant=str(number))
            likeness = hits[0].similarity if hits else None
            if reply.text != f"answer to: {pair.known if likeness is not None else pair.asked}":
                raise AssertionError(f"{pair.asked!r} was answered with {reply.text!r}")
            found.append((pair, likeness))
        return found

    return runtime.run(ask())


def _threshold(likenesses: Sequence[float]) -> float:
    """The highest threshold, in steps of 0.005, that keeps KEPT_SHARE of `likenesses`."""
    if not likenesses:
        return math.nan
    lowest = sorted(likenesses)[int(len(likenesses) * (1 - KEPT_SHARE))]
    return math.floor(lowest * 200) / 200


def _report(asked: Sequence[tuple[Pair, float | None]], *, show: bool) -> tuple[float, float]:
    """Print hits by language and kind; the shares of false and of useful hits."""
    print("| language | kind | templates | pairs | hits | share | 95 % interval |\n|---|---|---|---|---|---|---|")
    order = sorted(asked, key=lambda one: (one[0].is_attack, one[0].language, one[0].kind))
    for (_, language, kind), group in groupby(order, key=lambda one: (one[0].is_attack, one[0].language, one[0].kind)):
        _row(language, kind, list(group))
    shares = []
    for title, is_attack in (("false hits, all attacks", True), ("useful hits, all paraphrases", False)):
        whole = [one for one in asked if one[0].is_attack is is_attack]
        shares.append(_row("all", f"**{title}**", whole) if whole else 0.0)
    print()
    for pair, likeness in asked:
        if (likeness is not None) is pair.is_attack and (pair.is_attack or show):
            print(f"{'FALSE HIT' if pair.is_attack else 'missed'} ({pair.kind}): {pair.known} | {pair.asked}")
    return shares[0], shares[1]


def _row(language: str, kind: str, group: Sequence[tuple[Pair, float | None]]) -> float:
    """One line; paraphrases of one template are not independent, so their interval is by template. Attacks that never hit: Wilson's."""
    values = {str(i): float(likeness is not None) for i, (_, likeness) in enumerate(group)}
    clusters = {str(i): pair.cluster for i, (pair, _) in enumerate(group)}
    hits, count = int(sum(values.values())), len(group)
    interval = mean_interval(values, clusters) if 0 < hits < count else None
    templates = len(set(clusters.values()))
    print(f"| {language} | {kind} | {templates} | {count} | {hits} | {hits / count:.2%} | {interval or wilson(hits, count)} |")
    return hits / count


def wilson(hits: int, count: int, *, z: float = 1.96) -> Interval:
    """Wilson's interval of a share (1927): holds also where nothing was hit."""
    share, spread = hits / count, z * z / count
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def _plugins(args: argparse.Namespace, embed: EmbedModel, threshold: float) -> bool:
    """Every question of XQuAD asked of one model and one tenant: no two are the same, so no hit at all."""
    none = True
    print("## XQuAD: every two questions are different\n")
    for language in ("en", "tr"):
        queries = squad(args.data / f"xquad-{language}" / f"xquad.{language}.json", language=language).queries
        questions = list(dict.fromkeys(" ".join(query.text.split()) for query in queries))
        chat = ChatModel(
            Scripted(lambda call: f"answer to: {call.request.messages[-1].text}"),
            cache="memory",
            semantic=Semantic(embed=embed, threshold=threshold, patience_s=PATIENCE_S),
        )
        replies: list[Any] = [chat.invoke(question) for question in questions]
        false = [(question, reply.text) for question, reply in zip(questions, replies, strict=True) if reply.cached]
        n = len(questions)
        print(f"{language}: {n} questions, {n * (n - 1) // 2} pairs, {len(false)} hits {wilson(len(false), n)} of the questions")
        for question, answer in false:
            print(f"HIT: {question} <- {answer}")
        none = none and not false
    print()
    return none


def _alone(pairs: Sequence[Pair], embed: EmbedModel, used: float) -> None:
    """What the cosine alone would do on the test half: the reason for the rule."""
    texts = list(dict.fromkeys(text for pair in pairs for text in (pair.known, pair.asked)))
    vectors = dict(zip(texts, embed.embed(texts, role="query"), strict=True))
    likeness = {
        is_attack: [float(vectors[p.known] @ vectors[p.asked]) for p in pairs if p.is_attack is is_attack] for is_attack in (True, False)
    }
    strict = sorted(likeness[True], reverse=True)[int(len(likeness[True]) * FALSE_SHARE)]
    print("## the cosine alone, on the test half\n\n| threshold | false hits | useful hits |\n|---|---|---|")
    for threshold in (used, 0.95, 0.98, strict + 1e-6):
        false, useful = (sum(one >= threshold for one in likeness[is_attack]) / len(likeness[is_attack]) for is_attack in (True, False))
        print(f"| {threshold:.4f} | {false:.2%} | {useful:.2%} |")
    print()
