"""The demo: the sample corpus indexed and asked through both frameworks, then a failing provider, live."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import msgspec

from surefoot import ChatModel, EmbedModel, Policy, Target
from surefoot.discovery import look_around
from surefoot.errors import Misconfigured, Permanent, SurefootError
from surefoot.events import Event
from surefoot_rag.documents import corpus
from surefoot_rag.frameworks import CHAT, EMBED, MODULES, framework, show
from surefoot_rag.records import Answer, Passage
from surefoot_rag.retrieval.library import Library

SAMPLE = Path(__file__).parent / "sample"
TRIAL_S = 20.0  # for a model that was found to answer a word or to refuse
ASKED = ("en-01", "en-03", "en-05", "en-09", "en-13", "en-17", "tr-01", "tr-04", "tr-08", "tr-12", "tr-16", "tr-20")


class Gold(msgspec.Struct, frozen=True):
    """Where the answer stands."""

    document_id: str
    start: int
    end: int
    text: str


class SampleQuestion(msgspec.Struct, frozen=True):
    """One question of the sample."""

    id: str
    question: str
    language: str
    answerable: bool
    gold: tuple[Gold, ...]
    answer: str = ""
    cross_lingual: bool = False


def questions() -> list[SampleQuestion]:
    """Every question of the sample corpus."""
    lines = (SAMPLE / "questions.jsonl").read_bytes().splitlines()
    return [msgspec.json.decode(line, type=SampleQuestion) for line in lines if line.strip()]


def is_right(answer: Answer, asked: SampleQuestion) -> bool:
    """Refused where nothing answers; else a cited passage holds the gold span."""
    if not asked.answerable:
        return answer.refused
    cited = {one.passage_id for one in answer.citations}
    return any(passage.id in cited and _holds(passage, gold) for passage in answer.passages for gold in asked.gold)


def _holds(passage: Passage, gold: Gold) -> bool:
    return passage.document_id == gold.document_id and passage.start < gold.end and gold.start < passage.end


def run(*, model: str | None = None) -> tuple[int, int, int]:
    """Run the demo: 0 if most answers were right, how many were, and of how many."""
    chat, who = _chat(model)
    print(f"\n== Who answers: {who}; embeddings: {EMBED}, on this machine")
    embed = EmbedModel(EMBED, cache="memory")
    right = total = 0
    with tempfile.TemporaryDirectory(prefix="surefoot-demo-") as folder:
        documents = corpus.load(SAMPLE / "docs")
        print(f"\n== Indexing {len(documents)} documents, English and Turkish, with each framework")
        for name in MODULES:
            started = time.perf_counter()
            library = Library(folder, framework=name, embed=embed, create=True)
            framework(name).index(library, documents)
            print(f"{name}: {library.backend.count()} passages in {time.perf_counter() - started:.1f} s")
            print(f"\n== Questions, answered through {name}")
            for asked in _chosen():
                answer = framework(name).answer(library, asked.question, chat)
                good = is_right(answer, asked)
                right += good
                total += 1
                print(f"\n{'✓' if good else '✗'} {asked.question}")
                show(answer)
            print()
    print(f"== {right} of {total} answers cite the right passage, or rightly say that no document holds the answer (✓)")
    print("   ✗: another passage was cited, or none; an answer is right only by its passage, whatever its words")
    _resilience()
    print("\nYour own documents:  .venv/bin/surefoot rag index --docs FOLDER  then  .venv/bin/surefoot rag ask 'QUESTION'")
    return (0 if right * 2 > total else 1), right, total


def _chosen() -> list[SampleQuestion]:
    known = {one.id: one for one in questions()}
    unanswerable = [next(one for one in known.values() if not one.answerable and one.language == code) for code in ("en", "tr")]
    return [*(known[key] for key in ASKED if key in known and known[key].answerable), *unanswerable]


def _chat(model: str | None) -> tuple[ChatModel, str]:
    if model:
        return ChatModel(model, CHAT), f"{model}, as you asked"
    around = look_around()
    for hint in around.hints:
        print(f"note: {hint}")
    found = around.found
    if found is not None and not _refusal(found.target):
        return ChatModel(found.target, CHAT), f"{found.target.name} ({found.why}), with {CHAT} behind it"
    if found is not None:
        return ChatModel(CHAT), f"{CHAT}, a reader without weights on this machine, since {found.target.name} refuses"
    return ChatModel(CHAT), f"{CHAT}, a reader without weights on this machine (no key and no local model server found)"


def _refusal(target: Target) -> str:
    """What a model that was found refuses for good, said loudly: with the reader behind it nobody would notice. "" if it answers."""
    try:
        ChatModel(target, policy=Policy(attempts=2, deadline_s=TRIAL_S)).invoke("Say: ok", max_tokens=16)
    except (Permanent, Misconfigured) as error:
        print(f"\n!! {target.name} was found, and refuses: {error}")
        print(f"!! `surefoot doctor -m {target.name}` says what to do; the answers below are not its own\n")
        return str(error)
    except SurefootError as error:
        print(f"note: {target.name} did not answer a trial question ({error}); it is asked, and {CHAT} answers where it does not")
    return ""


def _resilience() -> None:
    """A provider that fails: first it recovers in time, then it does not and the next target answers."""
    from surefoot.testing.wire import OK, OpenAISim, fault

    prompt = (
        '<passages>\n<passage id="1">The night shift of the harbour office begins at 22:40 and ends at 06:10.</passage>\n</passages>\n'
        "<question>When does the night shift begin?</question>"
    )
    policy = Policy(attempts=4, attempts_per_target=3, backoff_base_s=0.05)
    with OpenAISim(answer="The night shift begins at 22:40. [1]") as sim:
        chat = ChatModel(Target("openai:gpt-5-mini", base_url=f"{sim.url}/v1", api_key="demo"), CHAT, policy=policy)
        chat.subscribe(_print_event, inline=True)
        for title, plan in (
            ("fails twice, then answers", [fault("status_503"), fault("status_429"), OK]),
            ("stays down", [fault("status_503")] * 3),
        ):
            print(f"\n== Resilience, live: a provider on loopback that {title}")
            sim.clear_script()
            sim.script(plan)
            before = len(sim.requests)
            reply = chat.invoke(prompt)
            reached = len(sim.requests) - before
            print(f"  answered by {reply.target} after {reply.attempts} attempts ({reached} reached the provider): {reply.text}")


def _print_event(event: Event) -> None:
    name = type(event).__name__
    if name in {"Retried", "FellBack", "BreakerOpened", "Hedged"}:
        fields = {key: value for key, value in msgspec.structs.asdict(event).items() if key not in {"call_id", "at_s"}}
        words = (f"{key} {value:.2f}" if isinstance(value, float) else f"{key} {value}" for key, value in fields.items())
        print(f"  {name}  {', '.join(words)}")
