"""What can be asked for beside the question: awaited answers, other prompts, other orders, refusals of what is not supported."""

from __future__ import annotations

import asyncio

import pytest

from surefoot import ChatModel, Message
from surefoot.errors import BadRequest, Misconfigured, Overloaded, SurefootError
from surefoot.history import History
from surefoot.testing import Scripted
from surefoot_rag.answers.numbers import numbers, values
from surefoot_rag.answers.prompting import unsupported
from surefoot_rag.answers.reranking import ChatReranker, ChatRewriter, CrossEncoder
from surefoot_rag.records import Passage
from surefoot_rag.retrieval.fusion import Fusion
from surefoot_rag.retrieval.library import Library
from tests.pipelines.conftest import document, scripted_embed

GATE = document("gate.md", "The allotment gate is locked every evening at 19:45. Plot holders borrow a key from Maud Pettigrew.")
RENT = document("rent.md", "The rent is 1,450 pounds a year and the water costs 12.5 pounds a month.")
PARADE = document("parade.md", "The lantern parade begins at the old mill and ends at the ferry landing.")
LEXICAL = Fusion(other=0.0)
ASKED = "When is the allotment gate locked?"


@pytest.fixture
def library(module, tmp_path):
    _, embed = scripted_embed()
    library = Library(tmp_path, framework=module.FRAMEWORK, embed=embed, create=True)
    module.index(library, [GATE, RENT, PARADE], progress=False)
    return library


def same(one, other) -> bool:
    skipped = {"seconds"}
    return all(getattr(one, name) == getattr(other, name) for name in one.__struct_fields__ if name not in skipped)


async def test_awaited_answers_are_the_same_answers(module, library):
    """Retrieved, answered, streamed; many at once on one loop, which is never held up by the search."""
    chat = ChatModel(Scripted("It is locked at 19:45 [1]. <think>no</think>Ask Maud [1]."))
    wanted = await asyncio.to_thread(module.answer, library, ASKED, chat)
    assert await module.aretrieve(library, ASKED, k=2) == await asyncio.to_thread(module.retrieve, library, ASKED, k=2)
    for got in await asyncio.gather(*(module.aanswer(library, ASKED, chat) for _ in range(8))):
        assert same(got, wanted)
    async with module.astream(library, ASKED, chat) as stream:
        assert stream.passages == wanted.passages
        with pytest.raises(SurefootError, match="not whole yet"):
            _ = stream.answer
        pieces = [piece async for piece in stream]
    assert len(pieces) > 1
    assert "".join(pieces).strip() == wanted.text
    assert same(stream.answer, wanted)


async def test_a_stream_left_early_gives_its_connection_back(module, library):
    """Without an answer, and without waiting for the rest."""
    provider = Scripted(["It is locked at 19:45 [1]. ", "Ask Maud [1]. ", *["More. "] * 50], delta_gap_s=0.01)
    async with module.astream(library, ASKED, ChatModel(provider)) as stream:
        assert "19:45" in await anext(stream)
    await asyncio.sleep(0.05)
    assert provider.open_streams == 0
    with pytest.raises(SurefootError):
        _ = stream.answer


@pytest.mark.parametrize("said", ["It is locked at 20:45 [1].", "It is locked at 19:45.", "It is locked at 19:45 [1]. And at noon, too."])
def test_what_is_not_supported_is_refused_where_asked(module, library, said):
    """Whole or streamed; a piece that was shown could not be taken back, so none is."""
    chat = ChatModel(Scripted(said))
    assert not module.answer(library, ASKED, chat).refused
    answer = module.answer(library, ASKED, chat, refuse_unsupported=True)
    assert (answer.refused, answer.verdict, answer.citations) == (True, "refused", ())
    assert answer.unsupported
    assert "19:45" not in answer.text
    stream = module.stream(library, ASKED, chat, refuse_unsupported=True)
    assert list(stream) == [answer.text]
    good = ChatModel(Scripted("It is locked at 19.45 [1]."))
    assert module.answer(library, ASKED, good, refuse_unsupported=True).text == "It is locked at 19.45 [1]."


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1,5", "1.5"),
        ("1.450", "1,450"),
        ("1 450", "1.450"),
        ("1\u202f450,00", "1450"),
        ("18:30", "18.30"),
        ("1.234,50", "1,234.5"),
        ("\u0663", "3"),
    ],
)
def test_numbers_are_alike_in_any_notation(one, other):
    """Turkish writes 1.450,5 where English writes 1,450.5."""
    assert not numbers(one)[0].isdisjoint(values(other))
    assert not numbers(other)[0].isdisjoint(values(one))


@pytest.mark.parametrize(("one", "other"), [("1,5", "15"), ("1.45", "1450"), ("10.0.0.1", "10.0.1.0"), ("2024-03-01", "2024"), ("7", "70")])
def test_other_numbers_are_others(one, other):
    """However near."""
    assert any(number.isdisjoint(values(other)) for number in numbers(one))


def test_a_number_is_held_in_the_notation_of_its_passage():
    """A 1.450 rests on a 1,450; a sentence that says what is not known needs no citation."""
    passage = Passage(id="a", document_id="a", title="", text=RENT.text, start=0, end=len(RENT.text), source="a")
    assert unsupported("Kira yılda 1.450 pound [1]. Su ayda 12,5 pound [1].", [passage]) == ()
    assert len(unsupported("Kira yılda 1.405 pound [1].", [passage])) == 1
    assert unsupported("The rent is 1450 pounds [1]. The documents do not say what the fence costs.", [passage]) == ()


def test_a_prompt_of_ones_own(module, library, tmp_path):
    """A file; its digest is in the answer, and an edit is seen; one without its slots says so, before anything is sent."""
    provider = Scripted("At 19:45 [1].")
    file = tmp_path / "mine.md"
    file.write_text("# System\nAnswer like a pirate.\n# User\n{passages}\nQ: {question}\n")
    answer = module.answer(library, ASKED, ChatModel(provider), prompt=file)
    assert [one.text for one in provider.requests[-1].messages[:1]] == ["Answer like a pirate."]
    assert provider.requests[-1].messages[-1].text.endswith(f"Q: {ASKED}")
    file.write_text("# System\nAnswer like a judge.\n# User\n{passages}\nQ: {question}\n")
    other = module.answer(library, ASKED, ChatModel(provider), prompt=file)
    assert answer.prompt_sha256 != other.prompt_sha256
    file.write_text("# System\nx\n# User\n{question}\n")
    calls = provider.calls
    for wrong in (file, tmp_path / "none.md"):
        with pytest.raises(Misconfigured, match=wrong.name):
            module.answer(library, ASKED, ChatModel(provider), prompt=wrong)
    assert provider.calls == calls


def test_passages_in_another_order(module, library):
    """By a function, or by a chat model in one call; what it does not name comes last, and a failing one changes nothing."""
    usual = [one.document_id for one in module.retrieve(library, ASKED)]
    by_length = module.retrieve(library, ASKED, k=2, rerank=lambda _, found: [len(one.text) for one in found])
    assert [one.document_id for one in by_length] == ["gate.md", "parade.md"] or len({len(one.text) for one in by_length}) == 2
    assert by_length[0].score is not None
    last_first = ChatReranker(ChatModel(Scripted(f"<think>3?</think>{len(usual)}, 2, 99")))
    assert [one.document_id for one in module.retrieve(library, ASKED, rerank=last_first)] == [usual[2], usual[1], usual[0]]
    failing = ChatReranker(ChatModel(Scripted(*[Overloaded("busy")] * 20)))
    assert [one.document_id for one in module.retrieve(library, ASKED, rerank=failing)] == usual
    with pytest.raises(BadRequest, match="rerank gave 1 scores for 3 passages"):
        module.retrieve(library, ASKED, rerank=lambda *_: [1.0])
    with pytest.raises(BadRequest, match="rerank = 'best'"):
        module.retrieve(library, ASKED, rerank="best")


def test_a_question_in_other_words(module, library, tmp_path):
    """A chat model makes a follow-up stand by itself: that is searched for, the question stays. Without turns nobody is asked."""
    rewriter = Scripted("Where does the lantern parade begin?")
    chat, history = Scripted("At the old mill [1]."), History(tmp_path / "turns.db")
    asked = {"history": history, "rewrite": ChatRewriter(ChatModel(rewriter)), "k": 1, "fusion": LEXICAL}
    module.answer(library, "Is there a lantern parade?", ChatModel(chat), **asked)
    assert rewriter.calls == 0
    answer = module.answer(library, "And where does it begin?", ChatModel(chat), **asked)
    assert rewriter.calls == 1
    assert "lantern parade" in rewriter.requests[0].messages[-1].text
    assert answer.searched == "Where does the lantern parade begin?"
    assert answer.passages[0].document_id == "parade.md"
    assert "<question>And where does it begin?</question>" in chat.requests[-1].messages[-1].text
    failing = ChatRewriter(ChatModel(Scripted(*[Overloaded("busy")] * 20)))
    assert "lantern" in failing("And where does it begin?", [Message.user("Is there a lantern parade?")])


def test_a_cross_encoder_that_is_not_installed_is_named(monkeypatch):
    """With the command that installs it."""
    monkeypatch.setattr("surefoot_rag.answers.reranking.find_spec", lambda _: None)
    with pytest.raises(Misconfigured, match=r'pip install "surefoot\[st\]"'):
        CrossEncoder("cross-encoder/ms-marco-MiniLM-L6-v2")


def test_a_real_cross_encoder_puts_passages_in_order(module, library, tmp_path):
    """With weights drawn by chance, but its own tokenizer, tensors and threads."""
    pytest.importorskip("sentence_transformers", reason="extra st")
    from tests.pipelines.answers.tiny_cross_encoder import write

    encoder = CrossEncoder(str(write(tmp_path / "tiny")))
    found = module.retrieve(library, ASKED, rerank=encoder)
    scores = encoder(ASKED, found)
    assert len(found) == 3
    assert scores == sorted(scores, reverse=True)
    with pytest.raises(Misconfigured, match="cannot be loaded"):
        CrossEncoder(str(tmp_path / "none"))(ASKED, found)
