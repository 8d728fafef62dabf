"""langchain-tests over OpenAI. Skipped: pictures and PDFs in a tool's result (Chat Completions takes text alone there)."""

from tests.integrations.langchain.standard import EmbedIntegration, EmbedUnit, Integration, Unit


class TestUnit(Unit):
    target = "openai:gpt-5-mini"
    variable = "OPENAI_API_KEY"


class TestIntegration(Integration):
    target = "openai:gpt-5-mini"
    model_override_value = "gpt-4o-mini"
    supports_audio_inputs = True


class TestEmbedUnit(EmbedUnit):
    target = "openai:text-embedding-3-small"
    variable = "OPENAI_API_KEY"


class TestEmbedIntegration(EmbedIntegration):
    target = "openai:text-embedding-3-small"
