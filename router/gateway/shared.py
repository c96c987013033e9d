"""What the workers of one gateway share: the process from which they are forked imports this module, once.

Its pages are common to all workers as long as nobody writes to them. Each worker loads its own configuration.
"""

from __future__ import annotations

import contextlib
import gc

from router import settings
from router.errors import PulvinarError
from router.gateway.server import serve
from router.loading import load_encoder
from router.perceive.text.encoder import StaticEncoder

__all__ = ["serve"]

# Each worker reports what is wrong with the files.
with contextlib.suppress(PulvinarError):
    encoder = load_encoder(settings.STATIC_ENCODER)
    if isinstance(encoder, StaticEncoder):
        encoder.prepare()
        encoder.prepare_lexicon()
# The garbage collector would write to every object that it visits, and so copy its page. None is garbage here.
gc.freeze()
