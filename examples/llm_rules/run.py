"""Rules for the flights, written by a language model, while its worker is killed.

python run.py

Asks the endpoint that LLM_RULES_URL and LLM_RULES_MODEL name, or a small model on this
machine's CPU. Exit status 0 says that every column has a rule and no answer was paid twice.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import model

HERE = Path(__file__).parent
PATIENCE = 900.0
ROWS = 20_000


@contextlib.contextmanager
def endpoint() -> Iterator[None]:
    """Have a model to ask: the one that the environment names, or the small one."""
    if os.environ.get("LLM_RULES_URL"):
        yield
        return
    if model.weights() is None:
        raise SystemExit(model.HOW_TO_GET_IT)
    server = subprocess.Popen(
        [sys.executable, "model.py"],
        cwd=HERE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    try:
        os.environ["LLM_RULES_URL"] = server.stdout.readline().strip()
        os.environ.setdefault("OPENAI_API_KEY", "none")
        yield
    finally:
        server.kill()
        server.wait()


def start_worker(folder: Path) -> "subprocess.Popen[bytes]":
    log = (folder / "worker.log").open("a")
    command = [sys.executable, "-m", "celery", "-A", "rules", "worker", "-c", "1", "-l", "INFO"]
    return subprocess.Popen(command, cwd=HERE, stdout=log, stderr=log, start_new_session=True)


def kill(worker: "subprocess.Popen[bytes]") -> None:
    """SIGKILL a worker and its pool process: no handler runs, nothing is tidied up."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()


def carry(folder: Path, rules: Any, job_id: str) -> Any:
    """Let workers carry the job to its end, killing one on the way; return the record."""
    worker, killed, shown = start_worker(folder), False, -1
    give_up_at = time.monotonic() + PATIENCE
    try:
        while time.monotonic() < give_up_at:
            job = rules.milepost.jobs.get(job_id)
            if job.progress.done != shown:
                shown = job.progress.done
                print(f"  {shown} of {job.progress.total or '?'} columns, {job.status}", flush=True)
            if job.status.is_terminal or job.status == "paused":
                return job
            if shown >= 3 and not killed:
                print("  kill -9; another worker starts", flush=True)
                kill(worker)
                worker, killed = start_worker(folder), True
            time.sleep(0.1)
    finally:
        kill(worker)
    raise SystemExit(f"the job did not end within {PATIENCE:.0f} s: see {folder}/worker.log")


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="milepost-rules-") as name, endpoint():
        os.environ["LLM_RULES_FOLDER"] = name
        import rules  # reads the environment that was just set

        job = rules.milepost.jobs.create("rules.write_rules", {"rows": ROWS})
        job = carry(Path(name), rules, job.id)
        if job.status != "succeeded":
            print((Path(name) / "worker.log").read_text()[-3000:])
            print(f"NOT DONE: {job.status}, {job.reason or job.error}")
            return 1
        for found in rules.milepost.jobs.result(job.id):
            rule = found["rule"]
            print(
                f"{found['column']:<10} {rule['kind']:<10} {rule['low']:>8g} to {rule['high']:<8g}"
                f" kept by {found['kept by']:.1%}"
            )
        spend = rules.milepost.jobs.checkpoint(job.id)["spend"]
        calls, ambiguous = spend["calls"], spend["ambiguous"]
        print(f"{calls} calls answered, {ambiguous} in flight when the worker died")
        print(f"{spend['input_tokens']} tokens asked, {spend['output_tokens']} answered")
        print(f"attempts {job.attempts}, crashes {job.crashes}")
        return 0


if __name__ == "__main__":
    sys.exit(main())
