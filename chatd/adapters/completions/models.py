"""The list of models, as OpenAI's clients read it."""

from typing import Any, Final

from fastapi import APIRouter

from chatd.adapters.operations import Operations
from chatd.llm.catalog import ModelConfig

router = APIRouter(prefix="/v1", include_in_schema=False)

_CREATED: Final = 0
"""Nobody keeps when a model was configured, and the clients want a number."""


@router.get("/models")
async def list_openai_models(operations: Operations) -> dict[str, Any]:
    """Return all models."""
    models = operations.context.catalog.models
    return {"object": "list", "data": [_model(model) for model in models]}


@router.get("/models/{name:path}")
async def get_openai_model(name: str, operations: Operations) -> dict[str, Any]:
    """Return a model. Its name may have slashes. Raises ``ModelNotFound``."""
    return _model(operations.context.catalog.by_name(name))


def _model(model: ModelConfig) -> dict[str, Any]:
    return {
        "id": model.name,
        "object": "model",
        "created": _CREATED,
        "owned_by": model.provider,
    }
