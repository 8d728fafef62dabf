"""`surefoot jobs`: durable batches from the command line."""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from surefoot.config import DEFAULT_CONFIG
from surefoot.errors import Misconfigured
from surefoot.text import one_line

if TYPE_CHECKING:
    from surefoot.jobs import Jobs, JobStatus

T = TypeVar("T")
STORE = "sqlite:.surefoot/jobs.db"
LOOK_S = 0.5  # between two looks at how far a job is


def add_jobs(commands: Any) -> None:
    """The parser of `surefoot jobs` and its subcommands."""
    says = "long batches that outlive their process: submit, work, look, go on"
    parser = commands.add_parser("jobs", help=says, description=says)
    subs = parser.add_subparsers(required=True, metavar="what")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--store", default=STORE, metavar="URL", help=f"sqlite:PATH or postgresql://... (default {STORE})")
    shared.add_argument("-c", "--config", metavar="FILE", help=f"settings of the models (default {DEFAULT_CONFIG}, where there is one)")
    shared.add_argument("--json", action="store_true", help="for programs")

    def sub(name: str, run: Callable[[Jobs, argparse.Namespace], int], told: str, *, job: bool = False) -> Any:
        one = subs.add_parser(name, parents=[shared], help=told, description=told)
        one.set_defaults(run=lambda args: _run(run, args))
        if job:
            one.add_argument("job", help="its id, as `submit` and `list` print it")
        return one

    _add_submit(sub("submit", _submit, "submit the items of a file; with --to, work on them here and write the answers"))
    work = sub("work", _work, "work on open jobs until none is left")
    work.add_argument("--job", metavar="ID", help="on this one alone")
    work.add_argument("--forever", action="store_true", help="wait for further jobs instead of ending")
    work.add_argument("--chunks-at-once", type=int, default=2, metavar="N", help="chunks under way in this process (default 2)")
    work.add_argument("--dead-s", type=float, default=30.0, metavar="S", help="others take over after so long without a sign of life")
    chunk = sub("chunk", _chunk, "do one chunk of a job here, for an engine that delivers chunks by number", job=True)
    chunk.add_argument("no", type=int, help="its number, from 0; `status --json` says how many there are")
    chunk.add_argument("--dead-s", type=float, default=30.0, metavar="S", help="others take over after so long without a sign of life")
    sub("status", _status, "how far a job is", job=True)
    results = sub("results", _results, "what was done so far, in order", job=True)
    results.add_argument("--to", type=Path, metavar="FILE", help=".jsonl, .csv or .parquet; left out: JSON lines on standard output")
    for name, told in (("cancel", "end a job; what was done is kept"), ("pause", "let a job rest"), ("resume", "let a job go on")):
        one = sub(name, _change, told, job=True)
        one.set_defaults(change=name)
        if name == "resume":
            one.add_argument("--failed", action="store_true", help="ask items again whose result is an error")
            one.add_argument("--budget-usd", type=float, metavar="USD", help="with this budget from now on")
    listed = sub("list", _list, "the latest jobs")
    listed.add_argument("--state", choices=("filling", "open", "paused", "cancelled", "done"), help="only these")
    listed.add_argument("--limit", type=int, default=20, metavar="N", help="the newest so many (default 20)")
    forget = sub("forget", _forget, "delete jobs, with their items and results")
    forget.add_argument("job", nargs="?", help="this one; left out: those whose time to be kept is over")
    forget.add_argument("--older-than-days", type=float, metavar="DAYS", help="those that ended so long ago")


def _add_submit(submit: argparse.ArgumentParser) -> None:
    submit.add_argument(
        "--from", dest="source", type=Path, required=True, metavar="FILE", help=".jsonl, .csv; for index a folder, too; for eval a suite"
    )
    submit.add_argument("--to", type=Path, metavar="FILE", help="work on it here, then write .jsonl, .csv or .parquet")
    submit.add_argument("--column", metavar="NAME", help="the field or column that holds the items")
    submit.add_argument("--kind", default="chat", help="what is done with each item: chat, embed, index or eval")
    submit.add_argument("--how", choices=("live", "vendor-batch"), help="vendor-batch: the vendor's batch API, at half the price")
    submit.add_argument("-m", "--model", action="append", metavar="PROVIDER:MODEL", help="repeat for fallbacks, in order of preference")
    submit.add_argument("-n", "--name", default="default", help="which [chat.NAME] of the settings")
    submit.add_argument("-s", "--system", metavar="TEXT", help="standing instructions")
    submit.add_argument("-o", "--option", action="append", default=[], metavar="NAME=VALUE", help="of each call, such as temperature=0")
    submit.add_argument("--key", help="a job of the same key is the same job, for ever")
    submit.add_argument("--priority", default="batch", help="batch, interactive (goes first), or a number (smaller goes first)")
    submit.add_argument("--budget-usd", type=float, metavar="USD", help="pause before it would spend more")
    submit.add_argument("--not-before", metavar="TIME", help="such as 2026-12-01T02:00+03:00")
    submit.add_argument("--ttl-days", type=float, default=30.0, metavar="DAYS", help="how long it is kept after its end")
    submit.add_argument("--chunk", type=int, metavar="N", help="items a worker takes at once (default 100; of a vendor's batches 1000)")


def _run(run: Callable[[Jobs, argparse.Namespace], int], args: argparse.Namespace) -> int:
    from surefoot import jobs

    store = args.store if ":" in args.store else f"sqlite:{args.store}"
    with jobs.open(store, config=args.config) as opened:
        return run(opened, args)


def _submit(opened: Jobs, args: argparse.Namespace) -> int:
    from surefoot.jobs import files, kinds

    kind = kinds.find(args.kind)
    _check_target(kind, args.to)
    model = args.model or [args.name]
    options = dict(_option(one) for one in args.option) | ({"system": args.system} if args.system else {})
    how = {"how": args.how} if args.how else {}
    digest = files.digest_of(args.source, args.kind, model, sorted(options.items()), args.column, *how.values())
    job = next(
        (one.id for state in ("open", "paused") for one in opened.jobs(state) if one.digest == digest and args.key in {None, one.key}), None
    )
    if job is not None:
        status = opened.status(job)
        print(f"job {job} goes on: {status.done + status.failed} of {status.total} done already", file=sys.stderr)
        if status.state == "paused":
            opened.resume(job, budget_usd=args.budget_usd)
    else:
        items, said = _items(kind, args, options)
        chunk = {} if args.chunk is None else {"chunk": args.chunk}
        job = opened.submit(
            args.kind, items, model=model, key=args.key, priority=_priority(args.priority),
            budget_usd=args.budget_usd, not_before=_moment(args.not_before), ttl_days=args.ttl_days, digest=digest,
            **how, **chunk, **(said | options),
        )  # fmt: skip
    if args.to is None:
        _show(opened.status(job), as_json=args.json)
        return 0
    return _follow(opened, job, args)


def _items(kind: Any, args: argparse.Namespace, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """What --from holds, and the options that follow from it."""
    from surefoot.jobs import files

    if not hasattr(kind, "from_path"):
        return files.read_items(args.source, args.column), {}
    if args.column is not None:
        raise Misconfigured(f"--column: jobs of kind {args.kind!r} read their files themselves")
    if not args.source.exists():
        raise Misconfigured(f"{args.source} cannot be read: there is no such file or folder")
    items, said = kind.from_path(args.source, options)
    return items, said


def _check_target(kind: Any, path: Path | None) -> None:
    """Raise Misconfigured for a --to that cannot be written, before anything is asked."""
    from surefoot.jobs import files

    if path is not None and not hasattr(kind, "write"):
        files.check_writable(path)


def _follow(opened: Jobs, job: str, args: argparse.Namespace) -> int:
    """Work on the job here, with a bar; then write its answers. Interrupted, it is left to go on later."""
    try:
        asyncio.run(_worked(opened, job, bar=not args.json))
    except (KeyboardInterrupt, asyncio.CancelledError):
        status = opened.status(job)
        print(
            f"\njob {job} is kept, {status.done + status.failed} of {status.total} done: run the same command again to go on, "
            f"or  surefoot jobs work --store {_shown(args.store)}",
            file=sys.stderr,
        )
        return 130
    status = opened.status(job)
    count = _write(opened, status, args.to)
    if args.json:
        _show(status, as_json=True)
    else:
        print(f"{args.to}: {count} answers, {status.failed} of them errors, ${status.cost_usd:.6f}", file=sys.stderr)
    if status.state == "paused":
        print(f"job {job} is paused: {status.reason}; raise it with  surefoot jobs resume {job} --budget-usd ...", file=sys.stderr)
        return 1
    return 0


async def _worked(opened: Jobs, job: str | None, *, bar: bool, **said: Any) -> None:
    """Work, and show how far the job is; SIGTERM ends it as Ctrl-C does, only more quietly."""
    shown = asyncio.ensure_future(_bar(opened, job)) if bar and job is not None else None
    try:
        await _until_told(opened.work(job, **said))
    finally:
        if shown is not None:
            shown.cancel()
            with suppress(asyncio.CancelledError):
                await shown


async def _bar(opened: Jobs, job: str) -> None:
    from tqdm import tqdm

    with tqdm(total=(await opened.astatus(job)).total, unit="item", dynamic_ncols=True) as bar:
        try:
            while True:
                status = await opened.astatus(job)
                bar.set_postfix({"failed": status.failed, "usd": f"{status.cost_usd:.4f}"}, refresh=False)
                bar.update(status.done + status.failed - bar.n)
                await asyncio.sleep(LOOK_S)
        finally:
            with suppress(Exception):
                status = opened.status(job)
                bar.update(status.done + status.failed - bar.n)


def _work(opened: Jobs, args: argparse.Namespace) -> int:
    if not args.json:
        print(f"working on jobs in {opened.describe()}{'' if args.forever else ', until none is left'}; Ctrl-C ends it", file=sys.stderr)
    said = {"forever": args.forever, "chunks_at_once": args.chunks_at_once, "dead_s": args.dead_s}
    with suppress(asyncio.CancelledError):  # SIGTERM: everything was given back
        asyncio.run(_worked(opened, args.job, bar=not args.json, **said))
    return 0


def _chunk(opened: Jobs, args: argparse.Namespace) -> int:
    """One chunk; 0 if it is done, or nothing of it is wanted any more. SIGTERM gives it back."""
    try:
        state = asyncio.run(_until_told(opened.run_chunk(args.job, args.no, dead_s=args.dead_s)))
    except asyncio.CancelledError:
        print(f"chunk {args.no} was given back; what was done of it is kept", file=sys.stderr)
        return 130
    print(msgspec.json.encode({"job": args.job, "chunk": args.no, "state": state}).decode() if args.json else state)
    return 0 if state in {"done", "cancelled"} else 1


async def _until_told(work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives; SIGTERM cancels it."""
    task = asyncio.ensure_future(work)

    def end() -> None:
        gc.freeze()  # the process ends: to look for garbage among all its modules takes longer than to give everything back
        task.cancel()

    with suppress(NotImplementedError, ValueError, RuntimeError):  # Windows, or not the main thread
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    return await task


def _status(opened: Jobs, args: argparse.Namespace) -> int:
    _show(opened.status(args.job), as_json=args.json)
    return 0


def _results(opened: Jobs, args: argparse.Namespace) -> int:
    status = opened.status(args.job)
    if args.to is not None:
        from surefoot.jobs import kinds

        _check_target(kinds.find(status.kind), args.to)
        count = _write(opened, status, args.to)
        print(f"{args.to}: {count} of {status.total}", file=sys.stderr)
        return 0
    for row in _rows(opened, status):
        print(msgspec.json.encode(row).decode())
    return 0


def _rows(opened: Jobs, status: JobStatus) -> Any:
    from surefoot.jobs import files, kinds

    return files.rows_of(kinds.find(status.kind), opened.results(status.id), opened.inputs(status.id))


def _write(opened: Jobs, status: JobStatus, path: Path) -> int:
    from surefoot.jobs import files, kinds

    kind: Any = kinds.find(status.kind)
    if hasattr(kind, "write"):
        return int(kind.write(path, opened.options(status.id), opened.results(status.id), opened.inputs(status.id)))
    columns = getattr(kind, "columns", ("value",))
    return files.write_rows(path, _rows(opened, status), ("n", *columns, "error", "message"))


def _change(opened: Jobs, args: argparse.Namespace) -> int:
    if args.change == "resume":
        opened.resume(args.job, failed=args.failed, budget_usd=args.budget_usd)
    else:
        getattr(opened, args.change)(args.job)
    _show(opened.status(args.job), as_json=args.json)
    return 0


def _list(opened: Jobs, args: argparse.Namespace) -> int:
    found = opened.jobs(args.state, limit=args.limit)
    if args.json:
        print(msgspec.json.encode(found).decode())
        return 0
    if not found:
        print(f"no jobs in {opened.describe()}", file=sys.stderr)
    for one in found:
        made = datetime.fromtimestamp(one.created_at, UTC).strftime("%Y-%m-%d %H:%M")
        done = f"{one.done + one.failed}/{one.total}"
        key = f"  {one_line(one.key)}" if one.key else ""
        print(f"{one.id}  {made}  {one.state:<9}  {one.kind:<6}  {done:>13}  {one.failed} failed  ${one.cost_usd:.4f}{key}")
    return 0


def _forget(opened: Jobs, args: argparse.Namespace) -> int:
    count = opened.forget(args.job, older_than_days=args.older_than_days)
    print(msgspec.json.encode({"forgotten": count}).decode() if args.json else f"{count} forgotten")
    return 0


def _show(status: JobStatus, *, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(status).decode())
        return
    told = f"{status.id}  {status.state}  {status.done} done, {status.failed} failed of {status.total}, ${status.cost_usd:.6f}"
    if status.workers:
        told += f", {status.rate:.1f} a second by {status.workers} worker{'s' if status.workers > 1 else ''}"
    if status.eta_s:
        told += f", {status.eta_s:.0f} s left"
    print(told + (f"\nreason: {one_line(status.reason)}" if status.reason else ""))


def _option(said: str) -> tuple[str, Any]:
    name, equals, value = said.partition("=")
    if not equals or not name:
        raise Misconfigured(f"--option {said!r}: write NAME=VALUE, such as temperature=0")
    try:
        return name, msgspec.json.decode(value)
    except msgspec.DecodeError:
        return name, value


def _priority(said: str) -> str | int:
    return int(said) if said.lstrip("-").isdigit() else said


def _moment(said: str | None) -> datetime | None:
    if said is None:
        return None
    try:
        moment = datetime.fromisoformat(said)
    except ValueError as error:
        raise Misconfigured(f"--not-before {said!r}: write it as 2026-12-01T02:00 or 2026-12-01T02:00+03:00") from error
    return moment if moment.tzinfo is not None else moment.astimezone()


def _shown(store: str) -> str:
    return f"{store.partition(':')[0]}:..." if "@" in store else store
