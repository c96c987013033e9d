"""Pulvinar: sends each prompt to the model or adapter that is best for it.

The public Python API: `Router`, `ChatRequest` and `split_prompt`, imported when first used, so that `import router`
stays cheap.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from router.compose.split import split_prompt
    from router.pipeline import Router
    from router.wire import ChatRequest

__version__ = "0.2.0.dev0"
__all__ = ["ChatRequest", "Router", "__version__", "split_prompt"]


def __getattr__(name: str) -> Any:
    if name == "Router":
        from router.pipeline import Router

        return Router
    if name == "ChatRequest":
        from router.wire import ChatRequest

        return ChatRequest
    if name == "split_prompt":
        from router.compose.split import split_prompt

        return split_prompt
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
