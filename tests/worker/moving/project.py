"""The example's host application, made anew for each site, as the workers of these tests run it."""

import importlib.util
import os
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[3] / "examples" / "data_testing"
sys.path.insert(0, str(EXAMPLE))
for ours, theirs in (("FOLDER", "FOLDER"), ("BROKER", "BROKER"), ("STORE", "STORE")):
    os.environ[f"DATA_TESTING_{theirs}"] = os.environ[f"PROJECT_{ours}"]

spec = importlib.util.spec_from_file_location("host", EXAMPLE / "host.py")
host = importlib.util.module_from_spec(spec)
spec.loader.exec_module(host)
app, milepost = host.app, host.milepost
