"""The campaign uses the sites of the worker tests."""

import importlib.util
import sys
from pathlib import Path

WORKER = Path(__file__).parent.parent / "worker"
sys.path.insert(0, str(WORKER))  # where the sites' own modules are


def _fixtures_of(path):
    spec = importlib.util.spec_from_file_location("worker_conftest", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_worker = _fixtures_of(WORKER / "conftest.py")
redis_server = _worker.redis_server
postgres_server = _worker.postgres_server
databases = _worker.databases
make_site = _worker.make_site
pytest_runtest_makereport = _worker.pytest_runtest_makereport
