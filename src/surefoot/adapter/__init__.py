"""What every framework's adapter needs: its fields into a model that equal settings share, its options into a request.

An adapter translates in, calls the model, translates out. What differs between frameworks is their messages; this is what does not:
`settings` (fields into a model), `words` (what people say into fields), `requests` (what they say of a call), `vendor_fields`, `answers`
(what is said of an answer beside its text), `typed` (the words for type checkers), `fields` (as pydantic has them, and so imported by
adapters alone), `stored_fields` and `pickling`.
"""

from surefoot.adapter.requests import embed_words, request_of, said_by
from surefoot.adapter.settings import (
    PLAIN,
    Settings,
    chat_model,
    context_size_of,
    efforts_of,
    embed_model,
    is_reference,
    key_of,
    key_variable,
    output_limit_of,
    sharing,
    stored,
)
from surefoot.adapter.words import normalise_kwargs

__all__ = [
    "PLAIN",
    "Settings",
    "chat_model",
    "context_size_of",
    "efforts_of",
    "embed_model",
    "embed_words",
    "is_reference",
    "key_of",
    "key_variable",
    "normalise_kwargs",
    "output_limit_of",
    "request_of",
    "said_by",
    "sharing",
    "stored",
]
