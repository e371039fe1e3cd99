"""Who lets callers in, made from the settings, and the actor it needs for that."""

from collections.abc import Sequence
from dataclasses import dataclass

from chatd.api.auth import Anyone, Keeper
from chatd.api.doorkeeper import Doorkeeper
from chatd.settings import Settings
from chatd.store.pool import Database
from chatd.store.tokens import Tokens
from chatd.supervision.actor import ChildSpec


@dataclass(frozen=True, slots=True)
class Callers:
    """Who lets callers in; ``specs`` are its children, which start before the first caller comes."""

    keeper: Keeper
    specs: Sequence[ChildSpec] = ()


def make_callers(settings: Settings, database: Database) -> Callers:
    """As ``auth.mode`` says."""
    match settings.auth.mode:
        case "none":
            return Callers(Anyone())
        case "token":
            doorkeeper = Doorkeeper(Tokens(database))
            return Callers(doorkeeper, [ChildSpec(name="doorkeeper", start=doorkeeper.run)])
        case "jwt":
            raise NotImplementedError
