"""langchain-tests over Gemini."""

from tests.integrations.langchain.standard import EmbedIntegration, EmbedUnit, Integration, Unit


class TestUnit(Unit):
    target = "google:gemini-3-flash"
    variable = "GEMINI_API_KEY"


class TestIntegration(Integration):
    target = "google:gemini-3-flash"
    model_override_value = "gemini-3-pro"
    supports_audio_inputs = True
    supports_image_tool_message = True
    supports_pdf_tool_message = True


class TestEmbedUnit(EmbedUnit):
    target = "google:gemini-embedding-001"
    variable = "GEMINI_API_KEY"


class TestEmbedIntegration(EmbedIntegration):
    target = "google:gemini-embedding-001"
