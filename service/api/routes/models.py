"""Models: what is served, with everything a client needs to ask for images."""

from fastapi import APIRouter

from service.api.backend import Services
from service.api.documentation import problems
from service.api.views import ModelList, ModelView
from service.errors import ModelUnknown, ModelUnserved

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("", response_model=ModelList, responses=problems(503))
async def list_models(backend: Services) -> ModelList:
    """List the models that live workers serve, in OpenAI's shape with the card of each."""
    served = await backend.registry.models()
    return ModelList(data=[ModelView.of(served[model]) for model in sorted(served)])


@router.get("/{model_id}", response_model=ModelView, responses=problems(404, 503))
async def read_model(model_id: str, backend: Services) -> ModelView:
    """Return one model's card: classes, samplers, limits, defaults, engine."""
    served = await backend.registry.models()
    if model_id in served:
        return ModelView.of(served[model_id])
    if model_id in await backend.registry.known_models():
        raise ModelUnserved(model_id)
    raise ModelUnknown(model_id, sorted(served))
