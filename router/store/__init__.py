"""Request records and the state that gateway workers share; `open_store` finds both by URL."""

from router.store.backend import Backend, open_store

__all__ = ["Backend", "open_store"]
