"""`python -m surefoot_eval ...`: measure, and say what was measured."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SECTIONS = ("overhead", "transport", "streams", "cache", "embed", "goodput", "tail", "outage", "import", "scale", "torture")
LONG = ("rag-size", "redis", "soak", "jobs", "gateway", "fleet")  # minutes to an hour: run where named
OF_NO_SPEED = {"torture", "redis", "soak", "jobs", "gateway", "fleet"}  # have goals of their own, or say what holds
MODULES = {"import": "imports", "rag-size": "rag_size"}  # where a section's name is no name of a module

COMMANDS = {  # where each command's main() stands
    "run": "run_suite", "retrieve": "run.retrieve",
    "generate": "generate.command", "review": "generate.review",
    "compare": "gate.compare", "power": "gate.power", "report": "report.report", "judge": "run.judge",
    "selfcheck": "studies.selfcheck", "semantic": "studies.semantic", "tune": "studies.tune", "tokens": "studies.tokens",
    "index": "studies.index", "poison": "studies.poison", "mutants": "studies.mutants",
}  # fmt: skip
OF_THE_REPOSITORY = {"bench", *(name for name, place in COMMANDS.items() if place.startswith("studies."))}  # not in the wheel


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    in_repository = find_spec("surefoot_eval.studies") is not None
    if words and words[0] in OF_THE_REPOSITORY and not in_repository:
        print(f"eval {words[0]}: it measures surefoot itself: run it in a checkout of the repository", file=sys.stderr)
        return 2
    parser = _parser(in_repository=in_repository)
    args = parser.parse_args(words)
    if args.command != "bench":
        return _measure(args)
    unknown = sorted(set(args.section) - {*SECTIONS, *LONG})
    if unknown:
        parser.error(f"unknown section {', '.join(unknown)}; known are {', '.join((*SECTIONS, *LONG))}")
    return _bench(args)


def _parser(*, in_repository: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m surefoot_eval", description="measure answers and retrieval, compare, gate")
    commands = parser.add_subparsers(dest="command", required=True)
    _suites(commands)
    if in_repository:
        _bench_options(commands)
        _studies(commands)
    return parser


def _bench_options(commands: Any) -> None:
    bench = commands.add_parser("bench", help="speed and memory beside the peers, in one run, as ratios")
    bench.add_argument("section", nargs="*", default=list(SECTIONS), help=f"of {', '.join(SECTIONS)}; left out: all; and {', '.join(LONG)}")
    bench.add_argument("--rounds", type=int, default=5)
    bench.add_argument("--seeds", type=int, default=200, help="of the torture section")
    bench.add_argument("--jobs", type=int, default=1, help="processes of the torture section")
    bench.add_argument("--minutes", type=float, default=14.0, help="of the soak section")
    bench.add_argument("--kills", type=int, default=0, help="processes of the jobs and gateway sections that are killed; 20 take minutes")
    bench.add_argument(
        "--parts",
        default="",
        help="of the gateway section: cost,memory,overload,aborts,drain,limits,ledger,page; "
        "of jobs: cost,million,kills,corpus; of fleet: redis,postgresql,sqlite,compared",
    )
    bench.add_argument("--load", metavar="URL", help="load-test this address instead, with the gateway section's report")
    bench.add_argument("--key", default="env:SUREFOOT_KEY", help="of the load test: env:NAME (default env:SUREFOOT_KEY), or the key itself")
    bench.add_argument("--model", default="default", help="which model the load test asks")
    bench.add_argument("--rate", type=float, default=10.0, help="calls a second that the load test begins")
    bench.add_argument("--seconds", type=float, default=30.0, help="of the load test")
    bench.add_argument("--stream", action="store_true", help="the load test asks for streams")
    bench.add_argument("--json", type=Path, help="write the figures here as well, and keep those of other sections already there")
    bench.add_argument("--markdown", type=Path, help="write the tables here as well")
    bench.add_argument("--plots", type=Path, help="folder for a chart (SVG) a section")


def _bench(args: argparse.Namespace) -> int:
    """Run the sections; then the goals of speed, for what has been measured."""
    from surefoot_eval.bench import goals

    results: dict[str, Any] = json.loads(args.json.read_text(encoding="utf-8")) if args.json and args.json.exists() else {}
    pages: list[str] = []
    for name in args.section:
        section = import_module(f"surefoot_eval.bench.sections.{MODULES.get(name, name)}")
        found = section.run(**_settings(name, args))
        results[name] = json.loads(json.dumps(found))
        pages.append(f"## {name}\n\n{section.table(results[name])}\n")
        print(f"\n{pages[-1]}", flush=True)
        if args.json:
            args.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
        if args.plots and hasattr(section, "plots"):
            args.plots.mkdir(parents=True, exist_ok=True)
            for title, chart in section.plots(results[name]).items():
                (args.plots / f"{title}.svg").write_text(chart, encoding="utf-8")
    if set(args.section) - OF_NO_SPEED:
        pages.append(f"## goals\n\n{goals.table(results)}\n")
        print(f"\n{pages[-1]}")
    if args.markdown:
        args.markdown.write_text("\n".join(pages), encoding="utf-8")
    return 0


def _settings(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """What a section is told."""
    parts = {"parts": args.parts} if args.parts else {}
    if name == "gateway":
        asked = {one: getattr(args, one) for one in ("key", "model", "rate", "seconds", "stream")}
        return {"rounds": args.rounds, "killed": args.kills, **parts, "load_test": {"url": args.load, **asked}}
    known: dict[str, dict[str, Any]] = {
        "torture": {"rounds": args.seeds, "jobs": args.jobs},
        "soak": {"minutes": args.minutes},
        "jobs": {"killed": args.kills, **parts},
        "fleet": parts,
    }
    return known.get(name, {"rounds": args.rounds})


def _studies(commands: Any) -> None:
    """The studies of single parts, most of which read public data."""
    check = commands.add_parser("selfcheck", help="reproduce published numbers: proof that the harness measures right")
    check.add_argument("--all", action="store_true", help="fail also where something could not be measured")
    check.add_argument("--only", choices=("lexical", "dense", "groundedness"), help="one part; left out: all three")
    semantic = commands.add_parser("semantic", help="false and useful hits of the semantic cache, over paraphrases and attacks")
    semantic.add_argument("--model", default="local:multilingual-e5-small", help="embedding model")
    semantic.add_argument("--threshold", type=float, help="left out: the default of the model, else the one chosen on the tuning half")
    semantic.add_argument("--data", type=Path, help="folder of public data sets: also XQuAD's questions, no two of which may hit")
    semantic.add_argument("--alone", action="store_true", help="also what the cosine alone would do")
    semantic.add_argument("--show", action="store_true", help="also the paraphrases that were missed")
    tune = commands.add_parser("tune", help="weights of the fusion on a dev split, figures on the other; the retriever doctor")
    tune.add_argument("--model", action="append", help="embedding model; several times for several")
    tune.add_argument("--set", action="append", help="scifact, xquad-en, xquad-tr, limit-small; left out: all")
    tokens = commands.add_parser("tokens", help="error of the token estimates, by language and family of models")
    tokens.add_argument("--data", type=Path, required=True, help="folder of public data sets")
    tokens.add_argument("--packages", type=Path, help="folder of packages that carry vocabularies")
    tokens.add_argument("--texts", type=Path, help="further languages: LANGUAGE/*.txt")
    tokens.add_argument("--fit", action="store_true", help="print the weights anew instead")
    index = commands.add_parser("index", help="time of indexing beside encoding alone, and of indexing again with nothing changed")
    index.add_argument("--documents", type=int, help="only so many; left out: all 5,183 of SciFact")
    index.add_argument("--framework", choices=("langchain", "llamaindex", "both"), default="langchain")
    index.add_argument("--data", type=Path, required=True, help="folder of public data sets")
    poison = commands.add_parser("poison", help="poisoned documents and a model that obeys them: what gets out")
    poison.add_argument("--documents", type=int, default=200)
    poison.add_argument("--seed", type=int, default=1)
    mutants = commands.add_parser("mutants", help="seeded changes of our own code: which ones no test notices")
    mutants.add_argument("--count", type=int, default=60)
    mutants.add_argument("--seed", type=int, default=1)
    mutants.add_argument("--only", default="", help="a part of the files' paths, such as layers/guards")
    mutants.add_argument("--jobs", type=int, default=1)
    mutants.add_argument("--allow", type=int, default=2, help="survivors for which the exit code is still 0")
    for one in (check, tune):
        one.add_argument("--data", type=Path, required=True, help="folder of public data sets")
        one.add_argument("--cache", type=Path, help="folder where vectors are kept")


def _suites(commands: Any) -> None:
    """What runs and compares suites, reports them, and examines the gate and a judge."""
    run = commands.add_parser("run", help="run a suite: answers, metrics with intervals, reports; goes on after a kill")
    run.add_argument("suite", type=Path, help="a suite, such as eval/surefoot_eval/suites/rag.toml")
    run.add_argument("--data", type=Path, help="folder of public data sets, for suites that name one")
    run.add_argument("--out", type=Path, help="folder of the results; left out: one named by the fingerprints, below .surefoot/eval/runs")
    run.add_argument("--fresh", action="store_true", help="begin another run instead of going on with the one that is there")
    run.add_argument("--only-failed", action="store_true", help="ask again what failed, and nothing else")
    run.add_argument("--tape", type=Path, help="file of recorded answers, with the latency and cost they had")
    run.add_argument(
        "--tape-mode", choices=("auto", "replay", "refresh"), default="auto", help="replay asks nobody; refresh asks all again"
    )
    compare = commands.add_parser("compare", help="did it get worse? 0 pass, 1 fail, 3 inconclusive, 2 not comparable")
    compare.add_argument("baseline", help="a run's folder; FOLDER:SYSTEM for one system of it")
    compare.add_argument("candidate", help="the run to judge, a folder that `run` printed")
    compare.add_argument("--margin", type=float, default=0.03, help="a drop smaller than this may pass")
    compare.add_argument("--changed", default="", help="what was changed on purpose: prompts, models, versions (comma between)")
    compare.add_argument("--rebaseline", action="store_true", help="accept other data: compare the questions that both runs share")
    compare.add_argument("--gate-slices", action="store_true", help="a slice that is worse fails too; half the error rate each")
    compare.add_argument("--out", type=Path, help="folder for compare.md and junit.xml")
    _generating(commands)
    retrieve = commands.add_parser("retrieve", help="retrieval figures of a model on any BEIR folder, by MTEB's protocol")
    retrieve.add_argument("--data", type=Path, required=True, help="folder with corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv")
    retrieve.add_argument("--model", action="append", required=True, help="embedding model, or bm25; several times for several")
    retrieve.add_argument("--split", default="test", help="which of the folder's qrels (default test)")
    retrieve.add_argument("--queries", default="queries.jsonl", help="file of the queries in the folder")
    retrieve.add_argument("--cache", type=Path, help="folder where vectors are kept")
    retrieve.add_argument("--json", type=Path, help="write the figures here as well")
    power = commands.add_parser("power", help="how often the gate alarms, by simulation")
    power.add_argument("--runs", type=int, default=1000, help="simulated comparisons (default 1000)")
    power.add_argument("--seed", type=int, default=1, help="the same seed, the same figures")
    report = commands.add_parser("report", help="write a run's reports once more")
    report.add_argument("run", type=Path, help="a run's folder")
    judge = commands.add_parser("judge", help="how far a model's verdicts can be trusted: its card, beside people's labels")
    judge.add_argument("--of", choices=("groundedness", "correctness"), default="groundedness", help="what it judges")
    judge.add_argument("--data", type=Path, help="folder of public data sets: BEGIN's labels of groundedness")
    judge.add_argument("--labels", type=Path, help="your own labelled answers, lines of JSON; left out: BEGIN's, or ours of correctness")
    judge.add_argument("--chat", action="append", required=True, help="who judges; several times for fallbacks")
    judge.add_argument("--models", type=Path, help="a surefoot.toml, of which --chat then is an entry")
    judge.add_argument("--answers", type=int, default=200, help="labelled answers to grade")
    judge.add_argument("--repeats", type=int, default=3, help="times the same answer is graded, for self-consistency")
    judge.add_argument("--tape", type=Path, help="file of recorded verdicts")
    judge.add_argument("--card", type=Path, help="write the card here")


def _generating(commands: Any) -> None:
    make = commands.add_parser("generate", help="make questions with gold from documents, and near misses; a table to look through")
    make.add_argument("docs", type=Path, help="a folder of documents (or of docs/), a SQuAD file, or a BEIR folder")
    make.add_argument("--out", type=Path, required=True, help="the table (CSV), in which you then mark what to keep")
    make.add_argument("--kinds", default="questions,near-misses", help="questions, near-misses or both, a comma between")
    make.add_argument("--count", type=int, default=50, help="of each kind, at most; spread over the documents")
    make.add_argument("--chat", action="append", help="who writes them; several times for fallbacks; left out: rules, without any model")
    make.add_argument("--models", type=Path, help="a surefoot.toml, of which --chat then is an entry")
    make.add_argument("--questions", type=Path, help="questions that are there already, of which near misses are made instead")
    make.add_argument("--language", default="", help="of the documents that are asked about: en or tr; left out: all")
    make.add_argument("--deepest", type=int, default=20, help="passages among which BM25 must find the sentence")
    make.add_argument("--margin", type=float, default=4.0, help="times by which BM25 may be ahead with it; above, it is too easy")
    make.add_argument("--seed", type=int, default=0, help="the same seed, the same questions")
    look = commands.add_parser("review", help="read the marks of that table back, check them, and write questions for suites")
    look.add_argument("file", type=Path, help="the table that generate wrote and you marked")
    look.add_argument("--docs", type=Path, required=True, help="the documents, as generate was told")
    look.add_argument("--out", type=Path, required=True, help="questions.jsonl, or the file that a suite names by file = ...")
    look.add_argument("--undecided", choices=("refuse", "keep", "drop"), default="refuse", help="what an empty mark means")
    for one in (make, look):
        one.add_argument("--format", choices=("folder", "squad", "beir"), default="folder", help="what the documents are")
        one.add_argument("--json", action="store_true", help="say what was done as JSON")


def _measure(args: argparse.Namespace) -> int:
    from surefoot.errors import Misconfigured

    try:
        code: int = import_module(f"surefoot_eval.{COMMANDS[args.command]}").main(args)
    except Misconfigured as why:
        print(f"eval {args.command}: {why}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as missing:
        print(f'eval {args.command}: needs {missing.name}, not installed here: run  pip install "surefoot[eval]"', file=sys.stderr)
        return 2
    return code


if __name__ == "__main__":
    sys.exit(main())
