"""What exists: model cards, and the catalogue they form."""

from router.cards.catalog import Catalog, load_catalog
from router.cards.schema import Card

__all__ = ["Card", "Catalog", "load_catalog"]
