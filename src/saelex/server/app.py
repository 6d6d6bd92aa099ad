"""The app: routes, problems and what stands before them, put together. Nothing happens at import."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles

from saelex import __version__
from saelex.index.index import Index
from saelex.server.guard import Guard, SecurityHeaders
from saelex.server.library import Library
from saelex.server.metrics import Metrics
from saelex.server.problems import handle_problems
from saelex.server.routes import concepts, documents, operations, search, vectors
from saelex.server.schemas import ProblemAnswer
from saelex.server.settings import Settings

_KEYS = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def create_app(indexes: Mapping[str, Index], settings: Settings | None = None) -> FastAPI:
    """An ASGI app that serves open indexes under their names; they stay its caller's to close, when it has ended."""
    settings = settings or Settings()
    metrics = Metrics()
    library = Library(indexes, settings, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        library.close()

    app = FastAPI(
        title="saelex", version=__version__, summary="Search by concepts", lifespan=lifespan, docs_url=None,
        redoc_url=None, redirect_slashes=False,
    )  # fmt: skip
    app.state.library, app.state.metrics = library, metrics
    for part in (operations, vectors, search, concepts, documents):
        app.include_router(part.router)
    app.mount("/page", _Page(directory=operations.PAGE, check_dir=False))
    handle_problems(app, library.shown)
    app.add_middleware(Guard, settings=settings, metrics=metrics)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key"], max_age=600,
        )  # fmt: skip
    app.add_middleware(SecurityHeaders)
    app.openapi = lambda: _described(app, bool(settings.api_key))  # type: ignore[method-assign]
    return app


class _Page(StaticFiles):
    """The page's files, asked for anew whether they have changed."""

    def file_response(self, *arguments: Any, **options: Any) -> Any:
        response = super().file_response(*arguments, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response


def _described(app: FastAPI, keys: bool) -> dict[str, Any]:
    """The OpenAPI document: problems are ours, and no 422 is answered."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas[ProblemAnswer.__name__] = ProblemAnswer.model_json_schema()
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for path in document["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        if keys:
            document["components"]["securitySchemes"] = _KEYS
            document["security"] = [{name: []} for name in _KEYS]
        app.openapi_schema = document
    return app.openapi_schema
