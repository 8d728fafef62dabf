"""What the pipelines' tests share: the frameworks, one after the other, and documents made of words."""

from __future__ import annotations

import pytest

from surefoot import EmbedModel
from surefoot.testing import Scripted
from surefoot.types import Traits
from surefoot_rag.frameworks import EMBED, MODULES, framework
from surefoot_rag.records import Document


def document(name: str, text: str, *, language: str = "en", **metadata: str | int | bool) -> Document:
    """A document without a file."""
    return Document(id=name, title="", text=text, source=name, language=language, metadata={"type": "text", **metadata})


def scripted_embed(dimensions: int = 16) -> tuple[Scripted, EmbedModel]:
    """Vectors by the text's digest: without meaning, at no cost, and counted."""
    provider = Scripted(dimensions=dimensions, traits=Traits(space=f"scripted/{dimensions}", max_batch_texts=64))
    return provider, EmbedModel(provider)


@pytest.fixture(scope="session")
def embed():
    """The offline embedding model; what was embedded once is not embedded again."""
    return EmbedModel(EMBED, cache="memory")


@pytest.fixture(params=sorted(MODULES))
def module(request):
    """index(), retrieve(), answer(), stream() of one framework."""
    return framework(request.param)
