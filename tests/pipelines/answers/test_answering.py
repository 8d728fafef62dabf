"""One suite for both frameworks: whose passages, which passages, how many, and what leaves in an answer."""

from __future__ import annotations

import pytest

from surefoot import ChatModel, Delta
from surefoot.errors import BadRequest, Misconfigured, SurefootError
from surefoot.history import History
from surefoot.testing import Scripted
from surefoot.types import ToolCallDelta
from surefoot.usage.tokens import estimate_text
from surefoot_rag.answers.answering import fit
from surefoot_rag.records import Passage
from surefoot_rag.retrieval.fusion import Fusion
from surefoot_rag.retrieval.library import Library
from tests.pipelines.conftest import document, scripted_embed

GATE = document("gate.md", "The allotment gate is locked every evening at 19:45. Plot holders borrow a key from Maud Pettigrew.", pages=3)
RENT = document(
    "kira.md", "Günlük kira bedeli 1.450 liradır ve dönüşte ödenir. Depozito olarak 3.000 lira alınır.", language="tr", type="pdf"
)
PARADE = document("parade.md", "The lantern parade begins at the old mill and ends at the ferry landing. Each lantern carries two candles.")
SECRET = document("secret.md", "The vault gate of the other company is locked at 03:33 and its code is PELICAN-77.")

SAID = "It is locked at 19:45 [1]."
DENSE, LEXICAL = Fusion(other=1.0), Fusion(other=0.0)


@pytest.fixture
def library(module, embed, tmp_path):
    """Two tenants beside the index without one."""
    library = Library(tmp_path, framework=module.FRAMEWORK, embed=embed, create=True)
    module.index(library, [GATE, RENT, PARADE], progress=False)
    module.index(library, [SECRET, PARADE], tenant="other", progress=False)
    module.index(library, [GATE], tenant="acme", progress=False)
    return library


def documents(found) -> set[str]:
    return {one.document_id for one in found}


def last_prompt(provider: Scripted) -> str:
    return provider.requests[-1].messages[-1].text


@pytest.mark.parametrize("fusion", [None, DENSE, LEXICAL, Fusion(method="ranks")])
def test_a_tenant_never_sees_anothers_passages(module, library, fusion):
    """Dense, lexical, fused by scores or by ranks: k far above what each has."""
    ask = "When is the vault gate locked, and what is the code PELICAN-77?"
    assert documents(module.retrieve(library, ask, tenant="acme", k=50, fusion=fusion)) <= {"gate.md"}
    assert "secret.md" in documents(module.retrieve(library, ask, tenant="other", k=50, fusion=fusion))
    assert documents(module.retrieve(library, ask, k=50, fusion=fusion)) <= {"gate.md", "kira.md", "parade.md"}


def test_a_tenants_prompt_holds_its_own_passages_alone(module, library):
    """What is not in the prompt no model can be talked into telling."""
    provider = Scripted(SAID)
    answer = module.answer(library, "What is the code of the vault gate?", ChatModel(provider), tenant="acme", k=50)
    assert "PELICAN" not in last_prompt(provider)
    assert "19:45" in last_prompt(provider)
    assert provider.seen[-1].tenant == "acme"  # its budget pays
    assert documents(answer.passages) == {"gate.md"}


def test_a_tenant_is_indexed_and_emptied_for_itself(module, library):
    """The same document in two tenants is two; one goes, the other stays."""
    assert module.index(library, [], tenant="other", progress=False)[:2] == (0, 2)
    assert module.retrieve(library, "lantern parade", tenant="other") == []
    assert "parade.md" in documents(module.retrieve(library, "lantern parade"))


def test_a_tenant_nobody_indexed_is_an_error_not_an_empty_answer(module, library):
    """A misspelt name must not look like a question without an answer; a blank one is none."""
    with pytest.raises(Misconfigured, match="tenant 'acne'"):
        module.retrieve(library, "gate", tenant="acne")
    with pytest.raises(BadRequest, match="tenant = ' '"):
        module.index(library, [GATE], tenant=" ")


@pytest.mark.parametrize("fusion", [None, DENSE, LEXICAL, Fusion(method="ranks")])
@pytest.mark.parametrize(
    ("where", "allowed"),
    [
        ({"language": "tr"}, {"kira.md"}),
        ({"type": ["pdf", "html"]}, {"kira.md"}),
        ({"document": ["gate.md", "parade.md"]}, {"gate.md", "parade.md"}),
        ({"language": "en", "pages": 3}, {"gate.md"}),
        ({"pages": "3"}, set()),
        ({"pages": True}, set()),
    ],
)
def test_both_sides_keep_to_a_filter(module, library, where, allowed, fusion):
    """One list would otherwise bring back what the other left out; a number is not its text, and true is not 1."""
    found = documents(module.retrieve(library, "gate kira parade lantern 19:45", where=where, k=50, fusion=fusion))
    assert found <= allowed
    if fusion is None:
        assert found == allowed


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"langauge": "tr"}, "did you mean language"),
        ({"type": []}, "an empty list"),
        ({"type": {"$ne": "x"}}, r"\{'\$ne'"),
        ({"type": None}, "None"),
    ],
)
def test_a_filter_that_means_nothing_is_refused(module, library, where, words):
    """A misspelt field would find nothing for ever."""
    with pytest.raises(BadRequest, match=words):
        module.retrieve(library, "gate", where=where)


def test_a_filter_finds_one_among_hundreds(module, tmp_path):
    """An index that walks its graph may give up before it meets the one allowed passage."""
    _, embed = scripted_embed()
    library = Library(tmp_path, framework=module.FRAMEWORK, embed=embed, create=True)
    many = [document(f"{n:03}.txt", f"Nothing but number {n} is written here.", owner="them") for n in range(400)]
    module.index(library, [*many, document("mine.txt", "Something else entirely.", owner="us")], progress=False)
    assert documents(module.retrieve(library, "unrelated words", where={"owner": "us"}, fusion=DENSE)) == {"mine.txt"}


def test_what_cannot_be_searched_or_offered_is_refused_before_anything_is_sent(module, library):
    """Tools most of all: a passage could choose one."""
    provider = Scripted(SAID)
    for asked, words in (({"k": 0}, "k = 0"), ({"tools": [{"name": "mail"}]}, "tools"), ({"context_tokens": 3}, "not one sentence")):
        with pytest.raises(BadRequest, match=words):
            module.answer(library, "When is the gate locked?", ChatModel(provider), **asked)
    with pytest.raises(BadRequest, match="question is empty"):
        module.answer(library, "  ", ChatModel(provider))
    assert provider.calls == 0


def test_a_streamed_answer_is_the_answer(module, library):
    """Piece by piece it reads like the whole, and is judged like the whole."""
    words = "It is locked at 19:45 [1]. See [here](http://evil.example/a) for more [9]. Ask Maud Pettigrew for a key [1]."
    whole = module.answer(library, "When is the allotment gate locked?", ChatModel(Scripted(words)))
    stream = module.stream(library, "When is the allotment gate locked?", ChatModel(Scripted(words)))
    assert [one.id for one in stream.passages] == [one.id for one in whole.passages]
    with pytest.raises(SurefootError, match="not whole"):
        _ = stream.answer
    pieces = list(stream)
    assert len(pieces) == 3
    assert pieces[0].strip() == "It is locked at 19:45 [1]."
    assert stream.answer.text == whole.text == "It is locked at 19:45 [1]. See here for more. Ask Maud Pettigrew for a key [1]."
    assert stream.answer.citations == whole.citations
    assert (stream.answer.input_tokens, stream.answer.model) == (whole.input_tokens, whole.model)
    assert whole.removed_links == stream.answer.removed_links == 1


THOUGHTFUL = "The passage gives 19:45, the other one 03:33. So:\n</think>\n\nIt is locked at 19:45 [1]."


@pytest.mark.parametrize("words", [f"<think>\n{THOUGHTFUL}", THOUGHTFUL])
def test_thinking_is_neither_shown_nor_judged_nor_remembered(module, library, words):
    """Also where the chat template opened it: then a stream cannot know before it closes, but the answer does."""
    asked, history = "When is the allotment gate locked?", History()
    answer = module.answer(library, asked, ChatModel(Scripted(words)), history=history)
    assert answer.text == SAID
    assert not answer.unsupported
    assert history.all("default")[-1].text == SAID
    stream = module.stream(library, asked, ChatModel(Scripted(words)))
    pieces = "".join(stream)
    assert stream.answer.text == SAID
    assert pieces.endswith(SAID)
    assert pieces == SAID or words == THOUGHTFUL


def test_a_refusal_is_told_by_the_mark_that_nobody_sees(module, library):
    """In a language whose wording is not known; a refusal with a citation is one, too; half an answer is told apart."""
    for words, shown, verdict in (
        ("Jag vet inte. [none]", "Jag vet inte.", "refused"),
        ("I do not know: the documents do not say. [1]", "I do not know: the documents do not say. [1]", "refused"),
        (f"{SAID} The documents do not say why.", f"{SAID} The documents do not say why.", "undetermined"),
    ):
        answer = module.answer(library, "When is the gate locked?", ChatModel(Scripted(words)))
        assert (answer.text, answer.verdict, answer.refused) == (shown, verdict, verdict == "refused")
        assert bool(answer.citations) is not answer.refused
        stream = module.stream(library, "When is the gate locked?", ChatModel(Scripted(words)))
        assert "".join(stream).rstrip() == stream.answer.text == shown
    stream = module.stream(library, "When is the gate locked?", ChatModel(Scripted("[none]")))
    assert "".join(stream) == stream.answer.text == "I do not know: the documents do not say."


def test_leaving_a_stream_early_closes_it(module, library):
    """A reader who goes away must not be billed to the end."""
    provider = Scripted([Delta(text=f"Sentence {n} is here. ") for n in range(50)] + [Delta(finish_reason="stop")])
    with module.stream(library, "When is the gate locked?", ChatModel(provider), tenant="acme") as stream:
        assert next(stream).startswith("Sentence 0")
    assert provider.seen[-1].tenant == "acme"


def test_a_follow_up_is_searched_with_what_it_follows(module, library):
    """ "Who lends it?" holds nothing to search for; the model sees the earlier turns as turns."""
    provider, history = Scripted("At 19:45 [1].", "Maud Pettigrew does [1]."), History()
    chat = ChatModel(provider)
    module.answer(library, "When is the allotment gate locked?", chat, history=history, conversation="a")
    answer = module.answer(library, "Who has the key to it?", chat, history=history, conversation="a")
    assert answer.passages[0].document_id == "gate.md"
    assert "When is the allotment gate locked?" in answer.searched
    sent = provider.requests[-1].messages
    assert [one.role for one in sent] == ["system", "user", "assistant", "user"]
    assert (sent[1].text, sent[2].text) == ("When is the allotment gate locked?", "At 19:45.")  # its marks named other passages
    assert [one.text for one in history.all("a")][2:] == ["Who has the key to it?", "Maud Pettigrew does [1]."]


def test_a_follow_up_is_answered_offline(module, library):
    """Through a file, a stream and the reader without weights; in Turkish."""
    chat, history = ChatModel("local:extractive"), History(library.path / "chat.db")
    assert "1.450" in module.answer(library, "Günlük kira bedeli ne kadar?", chat, history=history).text
    with module.stream(library, "Peki o ne zaman ödenir?", chat, history=History(library.path / "chat.db")) as stream:
        text = "".join(stream)
    assert "dönüşte ödenir" in text
    assert not stream.answer.refused


def test_conversations_and_tenants_do_not_hear_each_other(module, library):
    """The same conversation name in two tenants is two conversations."""
    provider, history = Scripted("Yes [1]."), History()
    module.answer(library, "What is the code PELICAN-77?", ChatModel(provider), history=history, conversation="1", tenant="other")
    for asked in ({"conversation": "1", "tenant": "acme"}, {"conversation": "2", "tenant": "other"}):
        module.answer(library, "When is it locked?", ChatModel(provider), history=history, **asked)
        assert len(provider.requests[-1].messages) == 2
        assert "PELICAN-77?" not in last_prompt(provider)


def test_a_tool_call_nobody_offered_goes_nowhere(module, library):
    """Counted, and what remains is an answer, or a plain refusal where nothing remains."""
    call = Delta(tool_calls=(ToolCallDelta(index=0, id="1", name="send_mail", arguments='{"to": "x"}'),))
    end = Delta(finish_reason="tool_calls")
    answer = module.answer(library, "When is the gate locked?", ChatModel(Scripted([Delta(text=SAID), call, end])))
    assert (answer.text, answer.ignored_tool_calls) == (SAID, 1)
    stream = module.stream(library, "Kapı ne zaman kilitlenir?", ChatModel(Scripted([call, end])))
    assert "".join(stream) == stream.answer.text == "Bilmiyorum: belgelerde bunun yanıtı yok."
    assert stream.answer.refused
    assert stream.answer.ignored_tool_calls == 1


def test_links_leave_only_to_hosts_that_are_allowed(module, library):
    """In the answer, whatever its source; the words stay."""
    words = "Read https://docs.example.org/a [1] or [this](https://evil.example)."
    asked = "Where can I read about the gate?"
    kept = module.answer(library, asked, ChatModel(Scripted(words)), allowed_hosts=["example.org"])
    assert kept.text == "Read https://docs.example.org/a [1] or this."
    assert module.answer(library, asked, ChatModel(Scripted(words))).text == "Read [link removed] [1] or this."


def test_a_claim_is_held_against_the_passages_it_cites(module, library):
    """A number that stands in none of them, a sentence without a mark, a mark that names nothing."""
    words = "It is locked at 19:45 [1]. It opens again at 06:30 [1]. The guard is very friendly."
    answer = module.answer(library, "When is the allotment gate locked?", ChatModel(Scripted(words)))
    assert answer.unsupported == ("It opens again at 06:30 .", "The guard is very friendly.")
    assert len(answer.prompt_sha256) == 64


def passage(text: str, name: str = "a") -> Passage:
    return Passage(id=name, document_id=name, title="", text=text, start=10, end=10 + len(text), source=name)


def test_a_budget_drops_the_worst_passages_and_cuts_no_sentence():
    """Whole passages from the best on; of one too long alone, whole sentences, and its span says which."""
    one, other = passage("One two three four five. " * 20, "a"), passage("Six seven. " * 20, "b")
    assert fit([one, other], 1000) == [one, other]
    assert fit([one, other], estimate_text(one.text) + 20) == [one]
    (cut,) = fit([one, other], 60)
    assert cut.text.endswith("five.")
    assert one.text[: cut.end - cut.start] == cut.text
    assert estimate_text(cut.text) <= 60
    assert fit([], 10) == []


def test_a_context_budget_reaches_the_prompt(module, library):
    """The model is shown what fits, and the Answer says what that was."""
    provider = Scripted(SAID)
    answer = module.answer(library, "gate kira parade", ChatModel(provider), context_tokens=45)
    assert len(answer.passages) == 1
    assert last_prompt(provider).count("<passage id=") == 1
