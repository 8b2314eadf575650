"""`/v1/models`: every name that `model` may take."""

from fastapi import APIRouter
from pydantic import BaseModel

from gateway.catalog import Catalog
from gateway.deps import CallerDep, PartsDep
from gateway.errors import BadRequest

api = APIRouter(prefix="/v1/models", tags=["inference"])


class ModelCard(BaseModel):
    """OpenAI's model object; `parent` as vLLM has it for adapters."""

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = "turnout"
    parent: str | None = None
    description: str | None = None


class ModelList(BaseModel):
    """OpenAI's list of models."""

    object: str = "list"
    data: list[ModelCard]


@api.get("")
async def list_models(parts: PartsDep, _caller: CallerDep) -> ModelList:
    """`auto`, general tiers, domains, every served adapter version, configured aliases."""
    return ModelList(data=_cards(parts.catalog.now))


@api.get("/{model}")
async def one_model(model: str, parts: PartsDep, _caller: CallerDep) -> ModelCard:
    """One of the list; 404 for any other name."""
    for card in _cards(parts.catalog.now):
        if card.id == model:
            return card
    raise BadRequest(
        f"the model {model!r} does not exist", param="model", code="model_not_found", status=404
    )


def _cards(catalog: Catalog) -> list[ModelCard]:
    cards = [ModelCard(id="auto", description="routed by the classifier")]
    cards += [ModelCard(id=tier, description="general model") for tier in catalog.tiers]
    for name, domain in catalog.domains.items():
        cards.append(ModelCard(id=name, description=domain.pack.title))
        cards += [
            ModelCard(id=version, parent=domain.engine.model)
            for version in catalog.servable_versions(name)
        ]
    aliases = catalog.settings.aliases
    return cards + [ModelCard(id=alias, parent=model) for alias, model in aliases.items()]
