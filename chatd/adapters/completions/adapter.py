"""The adapter of Chat Completions and the list of models."""

from fastapi import APIRouter

from chatd.adapters.completions import models, routes
from chatd.adapters.config import AdapterConfig
from chatd.adapters.openai_errors import refuse
from chatd.api.adapter import Adapter


def build(config: AdapterConfig) -> Adapter:
    """Build the adapter."""
    router = APIRouter(
        include_in_schema=False, routes=[*routes.router.routes, *models.router.routes]
    )
    return Adapter(name="completions", prefix="/v1", router=router, refuse=refuse, config=config)
