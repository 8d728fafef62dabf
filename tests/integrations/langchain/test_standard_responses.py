"""langchain-tests over OpenAI's Responses API. Skipped: sounds, which that API does not take."""

from tests.integrations.langchain.standard import Integration, Unit

RESPONSES = {"api": "responses"}


class TestUnit(Unit):
    target = "openai:gpt-5-mini"
    variable = "OPENAI_API_KEY"
    options = RESPONSES


class TestIntegration(Integration):
    target = "openai:gpt-5-mini"
    model_override_value = "gpt-4o-mini"
    options = RESPONSES
    supports_image_tool_message = True
    supports_pdf_tool_message = True
