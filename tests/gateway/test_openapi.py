"""/openapi.json is a valid document of the routes that are served, and of no other."""

from __future__ import annotations

import re

import httpx
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from surefoot.gateway.routes import ROUTES
from surefoot.gateway.routes.openapi import openapi
from tests.gateway.conftest import KEY, Served


def test_the_document_is_valid_and_says_what_is_served(gateway: Served):
    """By a validator that nobody of us wrote; every path of it answers, and every route is in it, with its access."""
    told = httpx.get(f"{gateway.url}/openapi.json").json()
    validate(told, cls=OpenAPIV31SpecValidator)
    validate(openapi(ROUTES), cls=OpenAPIV31SpecValidator)
    said = {(method.upper(), path): one for path, item in told["paths"].items() for method, one in item.items() if method != "parameters"}
    assert set(said) == {(route.method, route.path) for route in gateway.gateway.router.routes}
    assert "/v1/files" not in told["paths"]  # this gateway keeps none
    with httpx.Client(base_url=gateway.url) as client:
        for (method, path), one in said.items():
            bare = client.request(method, re.sub(r"\{\w+\}", "x", path), json={})
            closed = {303, 501} if {"session": []} in one["security"] else {401}  # to the form, or nowhere without keys of its own
            assert (bare.status_code in closed) == bool(one["security"]), path
            assert bare.status_code != 405
        assert client.post("/v1/models", headers={"authorization": f"Bearer {KEY}"}).status_code == 405
