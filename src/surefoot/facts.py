"""What is known of providers and their models: the records, and how the right one is found. The data stand with each provider, see TABLES.

Tables are data alone, each row with the sources that it was taken from; nothing here asks anybody. A model that nobody has heard of has no
row, and whoever asks for one of its facts is told None. Read by the registry, the providers, the doctor, the discovery of a model at hand,
prices, windows and token counts: a fact about a vendor is written once.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from importlib import import_module
from typing import Any, Literal

from msgspec import Struct

from surefoot._documented import Documented

TABLES = (  # modules with a PROVIDERS; a new provider of ours is its folder and a line here
    "surefoot.providers.openai.facts",
    "surefoot.providers.anthropic.facts",
    "surefoot.providers.google.facts",
    "surefoot.providers.local.facts",
    "surefoot.providers.openai.houses",
    "surefoot.providers.clouds.facts",
)
OPEN_WEIGHTS = (  # vocabularies of models that many servers serve, by what stands in a name; see `families`
    ("llama", "llama3"), ("qwen", "qwen"), ("mistral", "mistral"), ("mixtral", "mistral"), ("ministral", "mistral"),
    ("deepseek", "deepseek"),
)  # fmt: skip

BY_THEIR_OWN = ("openai", "anthropic", "google", "local")  # providers whose models are known by their names alone


class ModelFacts(Struct, Documented, frozen=True, kw_only=True):
    """What holds for all models whose names begin with `begins`; of several beginnings that fit, the longest counts."""

    begins: str
    """The beginning of a name, in small letters, without a collection before it ("models/") or a fine-tuning's mark ("ft:")."""
    window: int | None = None
    """Context window in tokens: question and answer together."""
    question: int | None = None
    """The most tokens of a question, where the vendor sets a part of the window aside for the answer."""
    output: int | None = None
    """The most tokens of one answer, thinking included."""
    dimensions: int | None = None
    """The length of its vectors, where it embeds and nothing else is asked for."""
    text_tokens: int | None = None
    """The most tokens of one text to embed."""
    sources: tuple[str, ...] = ()
    """Keys of the provider's `sources`."""


class ProviderFacts(Struct, Documented, frozen=True, kw_only=True):
    """One provider: where its code is, how it is reached, and what it has."""

    path: str
    """The class that speaks to it, "module:Class"."""
    needs: tuple[str, ...] = ()
    """Modules it cannot do without."""
    sdk: str = ""
    """The vendor's module, needed by `lane="sdk"` alone."""
    package: str = ""
    """The SDK's distribution package."""
    versions: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    """Supported versions of `package`: from the first on, below the second."""
    extra: str = ""
    """The extra of surefoot that brings all of it."""
    address: str = ""
    """The vendor's own address, without which targets must give one; "" where there is none."""
    address_variable: str = ""
    """The environment variable that names another address; as all variables those that the vendor's SDK reads, see `credentials.placed`."""
    headers_variable: str = ""
    """The environment variable that names headers for every request."""
    option_variables: tuple[tuple[str, str], ...] = ()
    """Options of a target, each with the environment variable it is taken from."""
    key_variables: tuple[str, ...] = ()
    """The environment variables where its key customarily is, the first one first."""
    key_starts: tuple[str, ...] = ()
    """How its own keys begin."""
    default_chat: str = ""
    """The model that is taken where a key is found and no model is named."""
    place: str = ""
    """The function that writes whole addresses out of what targets say, "module:function"; "" where addresses stand as they are."""
    options: tuple[tuple[str, Any], ...] = ()
    """Options of its targets that differ from those of the protocol it speaks: its dialect."""
    keyless: Literal["nowhere", "elsewhere", "everywhere"] = "elsewhere"
    """Where it is asked without a key: at another address than its own, at none, or wherever it is (a server of one's own)."""
    key_reference: str = ""
    """The reference that gives its key where none is said and no variable holds one; "" where there is none."""
    signs: bool = False
    """Whether its SDK signs by itself, from wherever it finds credentials, where no key is said."""
    is_free: bool = False
    """Whether nobody sends a bill: a server on a machine of one's own."""
    also: tuple[str, ...] = ()
    """What others call it; who writes that is told its name here."""
    kinds: tuple[str, ...] = ("chat", "embed")
    """What its models do."""
    embedders: tuple[str, ...] = ()
    """Names that begin so are known to embed only, at the vendor's own address."""
    talkers: tuple[str, ...] = ()
    """Names that begin so are known to chat only, at the vendor's own address."""
    price_id: str = ""
    """Its name in the price list; "" where it is the same."""
    telemetry_id: str = ""
    """Its name in OpenTelemetry's semantic conventions; "" where it is the same."""
    langsmith_id: str = ""
    """Its name in LangSmith, by which that finds prices; "" where it is the same."""
    families: tuple[tuple[str, str], ...] = ()
    """What a model's name begins with or holds, and the family of its vocabulary; the first that fits."""
    models: tuple[ModelFacts, ...] = ()
    """Its models."""
    words: Mapping[str, str] = {}
    """Fields of its requests that its classes in the frameworks have under a name of their own: the name, and the field's place in the
    body ("generationConfig.topK"). Empty: nobody knows, and whatever is said is sent as it is.
    """
    sources: Mapping[str, str] = {}
    """Where the rows are from: a source's short name, its address, and the day it was read."""


_added: dict[str, ProviderFacts] = {}


@cache
def ours() -> dict[str, ProviderFacts]:
    """The providers of TABLES, by name."""
    return {name: one for table in TABLES for name, one in import_module(table).PROVIDERS.items()}


def add(name: str, provider: ProviderFacts) -> None:
    """Make the facts of a plugin's provider known."""
    _added[name] = provider
    model_of.cache_clear()


def provider_of(name: str) -> ProviderFacts | None:
    """The facts of a provider; None for one that has none."""
    return ours().get(name) or _added.get(name)


def base_name(name: str) -> str:
    """The name that rows are compared with: of "ft:o4-mini-2025-04-16:org::id", "models/Gemini-3-pro" and "us.anthropic.claude-opus-4-8".

    A fine-tuned model is its base, a collection or a region before the name is left out, and case does not matter.
    """
    base = name.lower().removeprefix("ft:").partition(":")[0].rpartition("/")[2]
    base = base.partition("anthropic.")[2] or base  # Bedrock's names
    return base.replace(".", "-") if base.startswith("claude-") else base  # OpenRouter's "claude-sonnet-4.5"


@lru_cache(maxsize=1024)
def model_of(provider: str, name: str) -> ModelFacts | None:
    """The row of a model; None for one that nobody knows. A dated name follows its family's."""
    known = provider_of(provider)
    base = base_name(name)
    rows = known.models if known is not None else ()
    return max((row for row in rows if base.startswith(row.begins)), key=lambda row: len(row.begins), default=None)


def output_limit(provider: str, model: str) -> int | None:
    """The most tokens that `model` writes in one answer, thinking included; None where nobody knows."""
    row = model_of(provider, model)
    return None if row is None else row.output


def efforts_known(provider: str, model: str) -> tuple[str, ...] | None:
    """The words that `model` knows for how much to think, none where it does not think by words; None where nobody knows."""
    row = model_of(provider, model)
    known: tuple[str, ...] | None = () if getattr(row, "thinking", "") == "no" else getattr(row, "efforts", None)
    return known


def provider_called(word: str) -> str:
    """The provider that others call `word` ("vertexai", "mistralai", "grok"); "" where there is none."""
    plain = word.lower()
    return next((name for name, one in {**ours(), **_added}.items() if plain == name or plain in one.also), "")


def prefixed(model: str) -> str:
    """The name that a model's own is to be written as: "openai:gpt-5-mini" for "gpt-5-mini"; "" where nobody knows the model.

    "groq/llama-3.3-70b" and "vertex_ai:gemini-3-flash", as other libraries write them, are known, too.
    """
    for mark in ("/", ":"):
        word, found, rest = model.partition(mark)
        if found and rest and (name := provider_called(word)):
            return f"{name}:{rest}"
    base = base_name(model)
    if known := _of_a_vendor(model):
        return known
    if any(base.startswith(word) for word, _ in OPEN_WEIGHTS):
        return f"{'openrouter' if '/' in model else 'ollama'}:{model}"
    return ""


def _of_a_vendor(model: str) -> str:
    """`model` as "provider:model", where one of the vendors' tables has it; "" elsewhere."""
    base = base_name(model)
    if "anthropic." in model.lower():
        return f"bedrock:{model}"
    for name in BY_THEIR_OWN:
        known = ours()[name]
        if model_of(name, model) is not None or base.startswith((*known.talkers, *known.embedders)):
            return f"{name}:{model}"
    return ""


def full_name(name: str, *, is_elsewhere: bool = False) -> str:
    """`name` as "provider:model": as it is where it says so, "openai/gpt-5" as "openai:gpt-5", and "gpt-5-mini" by the table that has it.

    `is_elsewhere`: the model has an address of its own, where "openai/gpt-oss" is a name like any other, and a model that no table has
    speaks OpenAI's protocol, as nearly all servers do. At the vendors' addresses what nobody knows stays as it is.
    """
    if ":" in name and not name.startswith("ft:"):
        return name
    first, slash, rest = name.partition("/")
    if slash and not is_elsewhere and rest and (provider := provider_called(first)):
        return f"{provider}:{rest}"
    known = "" if slash and is_elsewhere else _of_a_vendor(name)
    return known or (f"openai:{name}" if is_elsewhere and name else name)


def vendor_of(provider: str, model: str) -> str:
    """Whose model it is, by its row: "google" for Gemini on Vertex AI, "anthropic" for Claude there; else the provider itself."""
    row = model_of(provider, model)
    return next((name for name in BY_THEIR_OWN if row is not None and row in ours()[name].models), provider)


@lru_cache(maxsize=256)
def protocol_of(target: str) -> str:
    """Whose protocol is spoken with `target` ("provider:model"): "openai", "anthropic" or "google"; "" where nobody knows."""
    provider, _, model = target.partition(":")
    known = provider_of(vendor_of(provider, model))
    folder = "" if known is None else known.path.removeprefix("surefoot.providers.").partition(".")[0]
    return folder if folder in {"openai", "anthropic", "google"} else ""


@cache
def vendors_words() -> frozenset[str]:
    """All words of all providers' `words`."""
    return frozenset(word for known in ours().values() for word in known.words)


def name_in(book: Literal["price_id", "telemetry_id", "langsmith_id"], provider: str) -> str:
    """What the provider is called there, by the field of its facts: its own name where nothing else is known."""
    known = provider_of(provider)
    return (getattr(known, book) if known is not None else "") or provider


@cache
def families() -> tuple[tuple[str, str], ...]:
    """What a model's name begins with or holds, and its vocabulary: those of all providers, and of models that many serve."""
    return (*(pair for one in ours().values() for pair in one.families), *OPEN_WEIGHTS)
