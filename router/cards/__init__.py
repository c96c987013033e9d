"""Model cards: the declared facts about models and adapters, and the catalogue of all cards."""

from router.cards.catalog import Catalog, load_catalog
from router.cards.schema import Card

__all__ = ["Card", "Catalog", "load_catalog"]
