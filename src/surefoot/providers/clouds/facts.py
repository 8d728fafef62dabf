"""What is known of the clouds that serve other vendors' models: data alone, each with its sources."""

from __future__ import annotations

from surefoot.facts import ProviderFacts
from surefoot.providers.anthropic import facts as anthropic
from surefoot.providers.google import facts as google

SOURCES = {
    "sdk": "anthropic 2.14.0 (lib/vertex, lib/bedrock), google-genai 3.6.1 (_api_client.py), openai 3.57.0 (providers/): addresses, "
    "variables, bodies, read 2026-11-30",
}

PROVIDERS = {
    "vertex": ProviderFacts(
        path="surefoot.providers.clouds.endpoint:vertex",
        needs=("aiohttp",),
        extra="google",
        place="surefoot.providers.clouds.places:vertex",
        address_variable="GOOGLE_VERTEX_BASE_URL",
        option_variables=(
            ("project", "GOOGLE_CLOUD_PROJECT"),
            ("project", "ANTHROPIC_VERTEX_PROJECT_ID"),
            ("location", "GOOGLE_CLOUD_LOCATION"),
            ("location", "CLOUD_ML_REGION"),
        ),
        options=(("project", ""), ("location", "global")),
        key_reference="adc:",
        also=("vertexai", "vertex_ai", "google_vertexai", "vertex_ai_beta", "google_vertex", "google-vertex", "gcp", "anthropic_vertex"),
        kinds=("chat",),
        price_id="google",
        telemetry_id="gcp.vertex_ai",
        langsmith_id="google_vertexai",
        models=(*google.MODELS, *anthropic.MODELS),
        sources={**google.SOURCES, **anthropic.SOURCES, **SOURCES},
    ),
    "bedrock": ProviderFacts(
        path="surefoot.providers.clouds.endpoint:bedrock",
        needs=("aiohttp",),
        extra="anthropic",
        place="surefoot.providers.clouds.places:bedrock",
        address_variable="ANTHROPIC_BEDROCK_BASE_URL",
        option_variables=(("region", "AWS_REGION"), ("region", "AWS_DEFAULT_REGION"), ("profile", "AWS_PROFILE")),
        options=(("region", ""), ("profile", "")),
        key_variables=("AWS_BEARER_TOKEN_BEDROCK",),
        keyless="nowhere",
        signs=True,
        also=("bedrock_converse", "amazon_bedrock", "aws", "aws_bedrock", "anthropic_bedrock", "amazon"),
        kinds=("chat",),
        price_id="aws",
        telemetry_id="aws.bedrock",
        langsmith_id="amazon_bedrock",
        models=anthropic.MODELS,
        sources={**anthropic.SOURCES, **SOURCES},
    ),
}
