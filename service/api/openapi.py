"""The OpenAPI document: FastAPI's, with the request bodies that the routes read themselves."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.api.bodies import JSON
from service.api.problems import ProblemDetails, documented
from service.api.scopes import NEEDS, OPEN

_REFERENCE = "#/components/schemas/{model}"
_documented_models: dict[str, type[BaseModel]] = {ProblemDetails.__name__: ProblemDetails}


def accepts(model: type[BaseModel], *binary: str, is_required: bool = True) -> dict[str, Any]:
    """The `openapi_extra` of a route whose body is `model` as JSON, or one of the `binary` media types."""
    _documented_models[model.__name__] = model
    content: dict[str, Any] = {JSON: {"schema": {"$ref": _REFERENCE.format(model=model.__name__)}}}
    content |= {media: {"schema": {"type": "string", "format": "binary"}} for media in binary}
    return {"requestBody": {"required": is_required, "content": content}}


def _secure(document: dict[str, Any]) -> None:
    """Say of every route what it needs of a key, and how it is refused without."""
    document["components"]["securitySchemes"] = {
        "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
        "bearer": {"type": "http", "scheme": "bearer"},
    }
    # A path that takes slashes is written in its own way there.
    needs = {(method.lower(), path.replace(":path}", "}")): needed for (method, path), needed in NEEDS.items()}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if path not in OPEN:
                needed = needs[method, path]
                scopes = [] if needed is None else [needed]
                operation["security"] = [{"key": scopes}, {"bearer": scopes}]
                operation["responses"] |= {str(status): told for status, told in documented(401, 403, 429).items()}


def install(app: FastAPI) -> None:
    """Make `app.openapi()` complete."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            models = [(model, "validation") for model in _documented_models.values()]
            _, schemas = models_json_schema(models, ref_template=_REFERENCE)  # type: ignore[arg-type]
            document.setdefault("components", {}).setdefault("schemas", {}).update(schemas["$defs"])
            _secure(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
