from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from router.perceive.predictor import Predictor

ROOT = Path(__file__).parent.parent
ROUTE_A_PROMPT = """
import sys
from pathlib import Path

from router.cards.catalog import load_catalog
from router.decide.policy import load_policies
from router.perceive.text.encoder import StaticEncoder
from router.perceive.predictor import Predictor
from router.pipeline import Router
from router.wire.chat.request import ChatRequest

root, artifact = map(Path, sys.argv[1:])
encoder = StaticEncoder.load(root / "router" / "shipped" / "encoder")
router = Router(
    load_catalog(root / "model_cards"), load_policies(root / "policies"), Predictor.load(artifact, encoder)
)
decision = router.route(ChatRequest.from_prompt("What is 12 plus 30?")).decision
assert decision.card in router.catalog.ids
heavy = {"torch", "litellm", "sklearn", "scipy", "pandas", "transformers", "sentence_transformers", "httpx"}
print(*sorted(heavy & set(sys.modules)))
"""


def test_routing_imports_no_heavy_library(predictor: Predictor, tmp_path: Path) -> None:
    predictor.save(tmp_path / "artifact")
    completed = subprocess.run(
        [sys.executable, "-c", ROUTE_A_PROMPT, str(ROOT), str(tmp_path / "artifact")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.strip() == ""
