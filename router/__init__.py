"""Pulvinar: sends each prompt to the model or adapter that is best for it.

The public Python API: `Router` and `ChatRequest`, imported when first used, so that `import router` stays cheap.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from router.pipeline import Router
    from router.wire import ChatRequest

__version__ = "0.2.0.dev0"
__all__ = ["ChatRequest", "Router", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Router":
        from router.pipeline import Router

        return Router
    if name == "ChatRequest":
        from router.wire import ChatRequest

        return ChatRequest
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
