"""A refusal is told from an answer in whatever words a model chooses."""

from __future__ import annotations

import pytest

from surefoot_rag.answers.conversation import leans
from surefoot_rag.answers.refusals import NO_ANSWER, verdict, without_no_answer
from surefoot_rag.answers.thinking import Thinking, without_thinking

REFUSALS = """
I do not know: the documents do not say.
Bilmiyorum: belgelerde bunun yanıtı yok.
Ich weiß es nicht: Die Dokumente sagen dazu nichts.
I'm sorry, but the passages do not contain this information.
The passages do not mention the captain of the tug.
Unfortunately, I don't know.
Üzgünüm, belgelerde bu bilgi yer almıyor.
I do not know: the documents do not say. [1]
I'm sorry, but none of the passages say so. I do not have enough information to answer.
The provided context does not specify the price of a berth.
Based on the passages, I cannot determine who the captain is.
The captain's name is not mentioned in the documents [2].
There is no information about opening hours in the sources.
The documents do not say. Please ask the harbour office.
The captain is unknown. [none]
Verilen pasajlarda kaptanın adı belirtilmemiştir.
Belgelerde bu konuda bir bilgi bulunmamaktadır.
Maalesef bu soruya belgelerde bir yanıt bulamadım.
Metinlerde fiyat geçmiyor.
Leider enthalten die Passagen keine Angaben zur Abfahrt.
Das steht nicht in den Dokumenten.
Je ne sais pas : les documents ne le disent pas.
Les passages ne contiennent aucune information à ce sujet.
No lo sé: los documentos no lo dicen.
Los pasajes no mencionan la hora de salida.
Non lo so: i documenti non lo dicono.
Não sei: os documentos não dizem.
Ik weet het niet: de documenten vermelden dit niet.
Я не знаю: в документах об этом не говорится.
我不知道：文档中没有提到。
わかりません。文書には記載がありません。
لا أعرف: الوثائق لا تذكر ذلك.
""".strip().splitlines()

ANSWERS = """
The ferry does not run on Sundays [1].
The text on the sign does not glow at night [2].
Documents older than ten years are not given back [1].
It is unclear when he died, historians say [1].
The report must not contain names [1].
Belgeler saat 17.00'ye kadar teslim edilir [1].
Kâğıt parçası daha sonra bulunmuştur [1].
Hastalara bilgi verilmez [1].
Der Text nennt 45 Sekunden [1].
No, se paga al final [1].
""".strip().splitlines()

HALVES = (
    "I do not know the port, but the host is quay-2 [1].",
    "The documents do not say when it leaves. It leaves from pier nine [2].",
    "It leaves from pier nine [2]. The documents do not say when.",
)


@pytest.mark.parametrize("said", REFUSALS)
def test_refusals_are_known_by_their_wording(said):
    """In many languages, with an excuse before or a mark after; a refusal taken for an answer is scored as a wrong one."""
    assert verdict(said) == "refused"


@pytest.mark.parametrize("said", [*ANSWERS, "", "45 seconds."])
def test_answers_that_sound_like_refusals_are_answers(said):
    """A sentence that denies something is an answer if what it denies is in the documents."""
    assert verdict(said) == "answered"


@pytest.mark.parametrize("said", HALVES)
def test_half_an_answer_is_neither(said):
    """Whoever counts it as either is wrong half of the time."""
    assert verdict(said) == "undetermined"


def test_the_mark_that_is_asked_for_counts_in_any_language_and_is_not_shown():
    """The wording of a language nobody foresaw."""
    said = f"Jag vet inte. {NO_ANSWER}"
    assert verdict(said) == "refused"
    assert verdict("Jag vet inte.") == "answered"
    assert without_no_answer(said) == "Jag vet inte."


THOUGHTS = [
    ("<think>The passages say nothing.</think>\n\nIt opens at nine [1].", "It opens at nine [1]."),
    ("The prompt had opened it.\n</think>\n\nIt opens at nine [1].", "It opens at nine [1]."),
    ("<Thinking>a</Thinking>It opens <think>b</think>at nine [1].", "It opens at nine [1]."),
    ("<think>and then the answer was cut", ""),
    ("Write `<think>` before it, and a < b [1].", "Write `<think>` before it, and a < b [1]."),
    ("It opens at nine [1]. <th", "It opens at nine [1]. <th"),
]


@pytest.mark.parametrize(("said", "shown"), THOUGHTS)
@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_thinking_is_taken_out_however_it_comes(said, shown, size):
    """In pieces of any size, and whole."""
    taken, out = Thinking(), ""
    for at in range(0, len(said), size):
        restarts, text = taken.restarts, taken.feed(said[at : at + size])
        out = text if taken.restarts > restarts else out + text
    assert out + taken.end() == without_thinking(said) == shown


FOLLOW_UPS = """
When is it locked?|Who has the key to it?|And on Sundays?|Why?|What is its capital?|How long does it take?|When was that built?
How old is he?|What about children?|Where can I buy them?|What happened then?|Who else?
How many?|Which of them is cheaper?|Is it open in winter?
Peki o ne zaman ödenir?|Ne zaman kilitlenir?|Neden?|Ya pazar günleri?|Onu kim yaptı?|Bunu kim yazdı?|Orada ne var?|Ondan sonra ne oldu?
"""
WHOLE = """
What are clades?|When was Montreal captured?|How did Tesla finance his work?|Where did France focus its efforts to rebuild its empire?
How long does it take for a loan to be paid back in full?|When does the night ferry leave, and who sells its tickets?
Who is Maud Pettigrew?|How many chloroplast lineages are there?|What is the name of the bridge that joins the two halves of the town?
Which French king issued this law?
Türler nedir?|Bu bildirimi hangi soydan Fransızlar yayımladı?|Günlük kira bedeli ne kadar?|Kapı ne zaman kilitlenir?
"""


def each(lines: str) -> list[str]:
    return [one for line in lines.strip().splitlines() for one in line.split("|")]


@pytest.mark.parametrize(("question", "follows"), [*((one, True) for one in each(FOLLOW_UPS)), *((one, False) for one in each(WHOLE))])
def test_a_question_follows_up_only_where_its_pronoun_has_no_noun(question, follows):
    """One that names what it means, searched together with the last question, finds the last question's passages."""
    assert leans(question) is follows
