from __future__ import annotations

from tests.dispatch.http1.conftest import certificates

__all__ = ["certificates"]
