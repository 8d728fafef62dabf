"""Do two questions ask the same? Only if, once wording that carries no meaning is taken off, the same words stand in the same order.

Embeddings cannot tell: "from A to B" and "from B to A", 5 and 50, "can" and "cannot", Austria and Australia lie closer together than most
paraphrases. So the semantic cache lets similarity propose and this decide. `reading()` brings a question into a plain form by a closed list
of rewritings: politeness around it goes, frames of asking that mean the same become one ("how can I", "how does one", "how to"), spelling
variants and plain number words are written one way. Everything else counts as it stands, every sign and every article: what is not on the
list is never rewritten, so an unknown wording is a miss, which costs a call, and not a wrong answer.

Texts with quotations, code, lines or material after a colon, and long ones, are compared as they stand. English and Turkish are known;
other languages must agree in all their words. Endings are not guessed at: Peters is not Peter, news are not new, and of the Turkish verbs
only those in the table are known in their forms (duvar nasıl yıkılır, duvar nasıl yıkanır: demolished, washed).
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

MAX_CHARS = 300  # a longer text is an order with its material, not a question asked twice in other words

Rule = tuple[re.Pattern[str], str]


def same(one: str, other: str) -> bool:
    """True if `one` and `other` ask the same, as far as their words can show: reflexive, symmetric and transitive."""
    return reading(one) == reading(other)


def reading(question: str) -> tuple[str, ...]:
    """The language ("en", "tr", "" for another, "=" for a text that must agree as it stands), then the words that count, in order."""
    return ("=", question.strip()) if len(question) > MAX_CHARS else _reading(question)


@lru_cache(maxsize=4096)
def _reading(question: str) -> tuple[str, ...]:
    text = unicodedata.normalize("NFC", question).replace("\u2019", "'").strip()
    if not text or _LITERAL.search(text):
        return ("=", text)
    turkish = 2 * len(_TURKISH_LETTERS.findall(text)) + len(_TURKISH_WORDS.findall(_turkish_lower(text)))
    english = len(_ENGLISH_WORDS.findall(text.lower()))
    if english > turkish:
        return ("en", *_english(text))
    if turkish > english:
        return ("tr", *_turkish(text))
    return ("", *_WORD.findall(text))


# Quotations, code, several lines, material after a colon: what is meant word by word.
_LITERAL = re.compile(r"""["“”„«»`{}\[\]\\<>|=;~\n\r\t]|(?<!\w)'|'(?!\w)|:(?!\d)""")
# Numbers with their separators, words with inner marks (wi-fi, node.js, AT&T, C++), every other sign by itself.
_WORD = re.compile(r"\d+(?:[.,:/-]\d+)*|[^\W\d_]\w*(?:['.\-_&]\w+)*(?:\+\+|#)?|\S")
_TURKISH_LETTERS = re.compile("[ğĞşŞıİ]")
_TURKISH_WORDS = re.compile(
    r"\b(?:ve|bir|bu|için|ile|nasıl|neden|niçin|niye|ne|nedir|kaç|kaçta|kim|kimdir|kimin|hangi|nerede|nereden|lütfen|acaba|değil|yok|"
    r"m[ıiuü](?:y[ıiuü]m)?)\b|(?<=\w)'(?:[dt][ae]n?|y[aeıi]|n[ıi]n)\b"
)
_ENGLISH_WORDS = re.compile(  # words that other languages do not share: no in, an, on, was, will, do
    r"\b(?:the|is|are|does|did|can|could|should|would|how|what|what's|when|where|which|who|whose|why|of|to|for|from|with|and|not|please|my|"
    r"your?|i|by|whom|into|this|that|these)\b"
)
# Where a word is spoken about, no word may be exchanged for another.
_MENTION = re.compile(
    r"\b(?:say|said|saying|means?|meant|meaning|defin\w+|words?|phrase|term|spell\w*|pronounce\w*|rhymes?|synonyms?|called|translat\w+|titled?|"
    r"named?|wrote|written|author|demek|anlam\w*|kelime\w*|sözcü\w*|çevir\w*|denir|yaz\w+)\b"
)
_END = re.compile(r"(?:[?.]|(?<=[^\W\d_]{2})!)+$")  # 5! and n! are numbers


def _rules(*pairs: tuple[str, str]) -> tuple[Rule, ...]:
    return tuple((re.compile(pattern), to) for pattern, to in pairs)


def _apply(rules: tuple[Rule, ...], text: str) -> str:
    for pattern, to in rules:
        text = pattern.sub(to, text)
    return text


# ---------------------------------------------------------------- English

# Words that are another word with a capital: their case counts. Of the others only Title Case is taken as lower case.
_WITH_CAPITAL = (
    "may march august polish turkey china chile jersey guinea mobile nice reading bath job herb lima hamlet java python ruby rust "
    "swift go spark windows word excel access office outlook teams meta oracle target gap shell visa orange subway apple amazon mars "
    "mercury earth moon sun venus bill mark rose jack will grace hope faith joy dawn frank grant chase hunter mason art bob pat drew "
    "rob sue peg nick rich miles cliff dale glen lance pierce carol olive ivy violet iris jasmine daisy lily pearl amber crystal "
    "brook young king prince queen bush ford stone black white brown green gray grey cook baker smith carpenter potter fox wolf crane "
    "bird jobs gates buffett wells waters rivers banks woods snow bean rice berry trump catholic ionic titan pole finn welsh scotch "
    "swede lent mass revelation god lord boxer marines labour labor liberal conservative democrat republican congress senate state "
    "states house cabinet treasury union east west north south street dune kindle slack zoom signal telegram square stripe notion it "
    "us who english french it's"
)
_CAPITONYMS = frozenset(_WITH_CAPITAL.split())
_OPENERS = (
    "how what when where which who whom whose why can could may might will would should must shall is are am was were do does did has "
    "have had in on at for by to whether if tell please"
)
_OPENING = re.compile(rf"(?:{_OPENERS.replace(' ', '|')})\b")

_CONTRACTIONS = _rules(
    (r"\bwon't\b", "will not"),
    (r"\bcan't\b|\bcannot\b", "can not"),
    (r"\b(do|does|did|is|are|was|were|could|should|would|has|have|had|must)n't\b", r"\1 not"),
    (r"^(what|where|who|how|when)'s\b", r"\1 is"),
    (r"\b(do|does|did|can|could|should|would|must|may|might|am) i\b", r"\1 I"),
    (r"^(how|what|where|when|why|who)(?: to)? i\b", r"\1 I"),
    (r"^i\b", "I"),
    (r"\bI'd like\b", "I would like"),
    (r"\b(I)'m\b", r"\1 am"),
)

_ASKED = r"(?=how|what|when|where|which|who|why|whether|if)"
_TASKS = "translate|write|summari[sz]e|list|explain|describe|give|calculate|compute|convert|compare|suggest|recommend|draft|generate"
_POLITE = _rules(
    (r"^(?:hello|hi|hey|good morning|good evening)(?: there)?[,!.]* ", ""),
    (r"^(?:please|kindly),? ", ""),
    (r"^excuse me,? ", ""),
    (rf"^(?:can|could|would|will) you (?:please |kindly )?(?:tell|explain to|show|explain)(?: me| us)?,? {_ASKED}", ""),
    (rf"^(?:can|could|would|will) you (?:please |kindly )?(?=(?:{_TASKS}) )", ""),
    (rf"^(?:tell|explain to|show)(?: me| us) {_ASKED}", ""),
    (rf"^(?:do you (?:happen to )?know|does anyone know|any idea) {_ASKED}", ""),
    (rf"^I (?:would like|want|need) to (?:know|find out|learn),? {_ASKED}", ""),
    (rf"^I (?:wonder|am wondering|was wondering),? {_ASKED}", ""),
    (r"^if ", "whether "),
    (r"^please,? ", ""),
)
_POLITE_END = re.compile(r",? (?:please|thanks|thank you)$")
# "In 1990, who ...?" is "who ... in 1990?" unless the sentence has two verbs the phrase could belong to.
_FRONTED = re.compile(r"^((?:in|on|at|since|during) (?:[^ ,]+ ){0,2}[^ ,]+), ((?:how|what|when|where|which|who|is|can|does|do|did) [^,]+)$")
_TWO_VERBS = re.compile(
    r"\b(?:sa(?:y|ys|id)|th(?:ink|inks|ought)|believe|claim|predict|announce|plan|promise|decide|expect|hope|want|know|that|if|because|"
    r"when|while|before|after|who|whom|whose|which|to|and|or|not|never)\w*\b"
)

_HOW_IT_IS = r"(?!look\b|feel\b|seem\b|sound\b|rank\b|rate\b|score\b|compare\b|do\b|appear\b|fare\b|smell\b|taste\b|stand\b|differ\b)"
_FRAMES = _rules(
    (r"\bin order to\b", "to"),
    (r"^what (?:is|are) the (?:right |correct |proper )?(?:way|steps|procedure) (?:for me )?to ", "how to "),
    (r"^what (?:do|must|can) I (?:(?:have|need) to )?do to ", "how to "),
    (rf"^how (?:do|can|could|would|might) I (?:go about )?{_HOW_IT_IS}", "how to "),
    (rf"^how (?:does|can|could|would|might) one {_HOW_IT_IS}", "how to "),
    (r"^(?:is it possible(?: for me)?|am I able) to ", "can I "),
    (r"^(?:may|could) I ", "can I "),
    (r"^at what time\b", "what time"),
    (r"^for how long\b", "how long"),
    (r"^which person\b", "who"),
    (r"^by whom was (.+) written$", r"who wrote \1"),
    (r"^who is the author of ", "who wrote "),
    (r"^for (?:what|which) reason\b", "why"),
    (r"^what is the reason (?:why|that) ", "why "),
    (r"^(when|where|why|what time) (?:do|does) ", r"\1 "),
    (r"^what is (?:the meaning of|meant by) (.+)$", r"what does \1 mean"),
    (r"^what (?:does )?(?:the (?:word|term|phrase) )?(.+?) means?$", r"what does \1 mean"),
    (r"^what (?:is|are) the (?:price|cost) of (.+)$", r"how much does \1 cost"),
    (r"^what (?:do|does) (.+) cost$", r"how much does \1 cost"),
    (r"^how much (?:do|does) (.+) cost$", r"how much does \1 cost"),
    (r"^how much (?:is|are) ((?:a|an|the) .+)$", r"how much does \1 cost"),
    (r"^what (is|was) the population of ", r"how many people \1 in "),
    (r"^how many people live in ", "how many people is in "),
    (r"^how many people lived in ", "how many people was in "),
    (r"^(?:tell me|give me|name) the (?=(?:[a-z]+ )?[a-z]+ of )", "what is the "),
    (r"^which city is the capital of ", "what is the capital of "),
    (r"\bcapital city of\b", "capital of"),
    (r"\b(?:sign in|login) (?=to\b)", "log in "),
    (r"^how to switch (on|off) ", r"how to turn \1 "),
)

_SPELLINGS = {
    "e-mail": "email", "e-mails": "emails", "telephone": "phone", "photograph": "photo", "automobile": "car", "percent": "%",
    "kilometers": "km", "kilometres": "km", "kilometer": "km", "kilometre": "km", "centre": "center", "colour": "color",
    "quickest": "fastest", "biggest": "largest", "organise": "organize", "analyse": "analyze", "optimise": "optimize",
    "customise": "customize", "summarise": "summarize", "recognise": "recognize", "favourite": "favorite", "cancelled": "canceled",
}  # fmt: skip
_TO_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen "
    "twenty"
)
_NUMBERS = {word: str(value) for value, word in enumerate(_TO_TWENTY.split())} | {
    "thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "seventy": "70", "eighty": "80", "ninety": "90",
}  # fmt: skip
_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:,\d{3})+")


def _english(text: str) -> list[str]:
    words = _WORD.findall(text)
    first = words[0]
    text = re.sub(r"[^\W\d_][\w']*(?:-\w+)*", lambda found: _cased(found.group()), text)
    if _is_title(first) and (_OPENING.fullmatch(first.lower()) or first.lower() not in _CAPITONYMS):
        text = first.lower() + text[len(first) :]
    asked = text.endswith("?")
    text = _END.sub("", text)
    text = _apply(_CONTRACTIONS, text)
    asked = asked and not _OPENING.match(text)  # "how" asks with or without a mark
    exact = _MENTION.search(text)
    text = _apply(_POLITE, text if exact else _POLITE_END.sub("", text))
    fronted = _FRONTED.match(text)
    if fronted and not _TWO_VERBS.search(fronted.group(2), fronted.group(2).find(" ")):
        text = f"{fronted.group(2)} {fronted.group(1)}"
    text = _apply(_FRAMES, text)
    plain = [word if exact else _SPELLINGS.get(word) or _NUMBERS.get(word) or word for word in _WORD.findall(text)]
    plain = [word.replace(",", "") if _THOUSANDS.fullmatch(word) else word for word in plain]
    return [*plain, "?"] if asked else plain


def _cased(word: str) -> str:
    """`word` in lower case if its capital is only that of a name or a beginning."""
    lower = word.lower()
    return lower if len(word) > 2 and _is_title(word) and lower not in _CAPITONYMS else word


def _is_title(word: str) -> bool:
    return word[0].isupper() and (len(word) == 1 or word[1:].islower())


# ---------------------------------------------------------------- Turkish

# Stem, then "I do", "I can do", "it is done", "to do": whoever asks how, asks how it is done. Written out: endings guessed would mislead.
_VERBS = {
    form: forms.split()[0]
    for forms in (
        "yap yaparım yapabilirim yapılır yapmak", "et ederim edebilirim edilir etmek",
        "gönder gönderirim gönderebilirim gönderilir göndermek",
        "kur kurarım kurabilirim kurulur kurmak", "sıfırla sıfırlarım sıfırlayabilirim sıfırlanır sıfırlamak",
        "değiştir değiştiririm değiştirebilirim değiştirilir değiştirmek", "sil silerim silebilirim silinir silmek",
        "ekle eklerim ekleyebilirim eklenir eklemek", "indir indiririm indirebilirim indirilir indirmek",
        "yükle yüklerim yükleyebilirim yüklenir yüklemek", "kapat kapatırım kapatabilirim kapatılır kapatmak",
        "öde öderim ödeyebilirim ödenir ödemek", "hesapla hesaplarım hesaplayabilirim hesaplanır hesaplamak",
        "güncelle güncellerim güncelleyebilirim güncellenir güncellemek", "git giderim gidebilirim gidilir gitmek",
        "bağla bağlarım bağlayabilirim bağlanır bağlamak", "kaydet kaydederim kaydedebilirim kaydedilir kaydetmek",
        "paylaş paylaşırım paylaşabilirim paylaşılır paylaşmak", "oluştur oluştururum oluşturabilirim oluşturulur oluşturmak",
        "kullan kullanırım kullanabilirim kullanılır kullanmak", "temizle temizlerim temizleyebilirim temizlenir temizlemek",
        "pişir pişiririm pişirebilirim pişirilir pişirmek", "öğren öğrenirim öğrenebilirim öğrenilir öğrenmek",
    )
    for form in forms.split()[1:]
}  # fmt: skip
_KNOWN_VERB = f"({'|'.join(_VERBS)})"
# Names, months and stars that are words too: their case counts where a sentence begins.
_NAMES_AND_WORDS = (
    "deniz barış umut güneş toprak yağmur bulut rüzgar kar ay su ada gül çiçek yıldız aslan kaya demir pınar ırmak dilek sevgi ümit "
    "devrim savaş zafer bahar eylül nisan ekim kasım ocak mart dünya ışık can ömer kaan efe nur arda ali ipek inci huzur dava ordu "
    "batman van muş rize kilis tunceli çorum urfa uşak bolu sinop"
)
_TURKISH_NAMES = frozenset(_NAMES_AND_WORDS.split())
_ASK_TELL = r",? (?:söyler|açıklar|anlatır) m[ıi]s[ıi]n(?:[ıi]z)?$"
_TURKISH_FRAMES = _rules(
    (r"^(?:merhaba|selam|iyi günler)[,!.]* ", ""),
    (r"^(?:lütfen|acaba),? ", ""),
    (r",? (?:lütfen|acaba)$", ""),
    (rf"^bana (.+){_ASK_TELL}", r"\1"),
    (_ASK_TELL, ""),
    (rf"\b{_KNOWN_VERB} için ne yap(?:mal[ıi]y[ıi]m|mam gerek(?:ir|iyor)?|mak gerekir)$", r"nasıl \1"),
    (rf"\b{_KNOWN_VERB} istiyorum,? nasıl (?:yapar[ıi]m|yapabilirim|yap[ıi]l[ıi]r)$", r"nasıl \1"),
    (r"\bne anlama gel(?:ir|iyor)$|\bne demektir$", "ne demek"),
    (r"\b([12]\d{3})'[dt][ae]\b", r"\1 yılında"),
    (r"\bkaç insan\b", "kaç kişi"),
    (r"\b(kim|neresi|hangisi|kaç|kimin)[dt][ıiuü]r$", r"\1"),
    (r"\b(m[ıiu])d[ıiu]r$", r"\1"),
    (r"\b(?:niçin|niye)\b", "neden"),
    (r"\bsebep ol", "neden ol"),
    (r"\b(\w+) (?:kere|defa)\b", r"\1 kez"),
    (r"('[dt][ae]n) daha (?=\w+ m[ıiuü]\b)", r"\1 "),
    (r"(?<!\S)(\w+'y?[ae]) (\w+'[dt][ae]n)(?!\S)", r"\2 \1"),  # endings say who is what: to Konya from Ankara, from Ankara to Konya
)
_TIMETABLE = _rules(
    *((rf"\b{now}$", always) for now, always in (
        ("kalkıyor", "kalkar"), ("açılıyor", "açılır"), ("kapanıyor", "kapanır"), ("başlıyor", "başlar"), ("bitiyor", "biter"),
        ("varıyor", "varır"),
    )),
)  # fmt: skip
_TURKISH_ASKS = re.compile(r"\b(?:nasıl|neden|ne|nedir|kaç\w*|kim|kimin|hangi|hangisi|nere\w*|m[ıiuü](?:y[ıiuü]m|y[ıiuü]z)?)\b")
_TO_TEN = "sıfır bir iki üç dört beş altı yedi sekiz dokuz on"
_TURKISH_NUMBERS = {word: str(value) for value, word in enumerate(_TO_TEN.split())} | {
    "yirmi": "20", "otuz": "30", "kırk": "40", "elli": "50", "altmış": "60", "yetmiş": "70", "seksen": "80", "doksan": "90",
}  # fmt: skip
_TURKISH_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:\.\d{3})+")


def _turkish_lower(text: str) -> str:
    return text.replace("İ", "i").replace("I", "ı").lower()


def _turkish(text: str) -> list[str]:
    first = _turkish_lower(_WORD.findall(text)[0])
    if first not in _TURKISH_NAMES and not text[:2].isupper():
        text = first + text[len(first) :]
    text = re.sub(r"[^\W\d_]{3,}'\w+", lambda found: _turkish_lower(found.group()), text)  # the apostrophe shows the name as well
    asked = text.endswith("?")
    text = _END.sub("", text)
    exact = _MENTION.search(text)
    text = _apply(_TURKISH_FRAMES, text)
    if "saat kaçta" in text or "ne zaman" in text:
        text = _apply(_TIMETABLE, text)
    how = re.search(r"\bnasıl\b", text)
    plain = _WORD.findall(text)
    if how and plain[-1] in _VERBS:
        plain[-1] = f"{_VERBS[plain[-1]]}-"
    if not exact:
        plain = [_TURKISH_NUMBERS.get(word, word) for word in plain]
    plain = [word.replace(".", "") if _TURKISH_THOUSANDS.fullmatch(word) else word for word in plain]
    return [*plain, "?"] if asked and not _TURKISH_ASKS.search(text) else plain
