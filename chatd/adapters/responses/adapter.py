"""The adapter of Responses and Conversations."""

from fastapi import APIRouter

from chatd.adapters.config import AdapterConfig
from chatd.adapters.openai_errors import refuse
from chatd.adapters.responses import conversations, routes
from chatd.api.adapter import Adapter


def build(config: AdapterConfig) -> Adapter:
    """Build the adapter."""
    router = APIRouter(include_in_schema=False)
    router.routes.extend([*routes.router.routes, *conversations.router.routes])
    return Adapter(name="responses", prefix="/v1", router=router, refuse=refuse, config=config)
