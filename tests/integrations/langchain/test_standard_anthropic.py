# ruff: noqa: RUF012 - langchain-tests reads its settings off the class
"""langchain-tests over Anthropic. Skipped: JSON mode, sounds and embeddings, which Anthropic does not have."""

from tests.integrations.langchain.standard import Integration, Unit


class TestUnit(Unit):
    target = "anthropic:claude-haiku-4-5"
    variable = "ANTHROPIC_API_KEY"


class TestIntegration(Integration):
    target = "anthropic:claude-haiku-4-5"
    model_override_value = "claude-sonnet-4-5"
    supports_json_mode = False
    supports_image_tool_message = True
    supports_pdf_tool_message = True
    supported_usage_metadata_details = {
        "invoke": ["reasoning_output", "cache_read_input", "cache_creation_input"],
        "stream": ["reasoning_output", "cache_read_input", "cache_creation_input"],
    }
