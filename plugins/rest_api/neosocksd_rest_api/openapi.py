"""The OpenAPI document, made from the operations and the models of the JSON interface."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from neosocksd_rest_api.models import EVENTS, Problem
from neosocksd_rest_api.report import program_version
from neosocksd_rest_api.v1 import Operation

_PARAMETER = re.compile(r"\{([a-z]+)\}")
_PLACES = "#/components/schemas/{model}"


def describe(operations: Sequence[Operation]) -> dict[str, Any]:
    """The document, of OpenAPI 3.1."""
    models: set[type[BaseModel]] = {Problem, *EVENTS.values()}
    for operation in operations:
        models |= {model for model in (operation.result, operation.body) if model is not None}
    ordered = sorted(models, key=lambda model: model.__name__)
    # What is answered and what is posted look the same: no field of these models has a default.
    references, schema = models_json_schema(
        [(model, "serialization") for model in ordered], ref_template=_PLACES
    )
    named: dict[Any, Any] = {model: reference for (model, _), reference in references.items()}
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(
            operation, named
        )
    return {
        "openapi": "3.1.0",
        "info": {"title": "neosocksd", "version": program_version()},
        "paths": paths,
        "components": {
            "schemas": schema["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _operation(operation: Operation, named: Mapping[Any, Any]) -> dict[str, Any]:
    if operation.result is None:
        # OpenAPI 3.1 has no words for the events of a stream.
        events = {name: named[model] for name, model in EVENTS.items()}
        content: dict[str, Any] = {
            "text/event-stream": {"schema": {"type": "string"}, "x-events": events}
        }
    else:
        content = {"application/json": {"schema": named[operation.result]}}
    problem = {"application/problem+json": {"schema": named[Problem]}}
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": operation.handle.__name__,
        "parameters": _parameters(operation),
        "responses": {
            "200": {"description": "done", "content": content},
            "default": {"description": "an error", "content": problem},
        },
    }
    if operation.body is not None:
        body = {"application/json": {"schema": named[operation.body]}}
        described["requestBody"] = {"required": True, "content": body}
    return described


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "integer"}}
        for name in _PARAMETER.findall(operation.path)
    ]
    if operation.query is not None:
        properties = operation.query.model_json_schema()["properties"]
        found += [{"name": n, "in": "query", "schema": schema} for n, schema in properties.items()]
    return found
