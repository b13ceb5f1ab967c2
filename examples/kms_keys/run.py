"""Run an encrypted task with a key that only the key management service can unwrap."""

import base64
import json
import secrets
import sys
from pathlib import Path

from celery import Celery

sys.path.insert(0, str(Path(__file__).parent))

from kms import Kms
from standin import TOKEN, StandIn

from milepost import EncryptedTask, Milepost
from milepost.codecs.keyring import open_keys


def key_file(service: Kms) -> str:
    """Return the text of a key file with one new key, wrapped."""
    wrapped = base64.b64encode(service.wrap(secrets.token_bytes(32))).decode()
    return json.dumps({"keys": [{"id": "2026-11", "wrapped": wrapped, "use": "current"}]})


def main() -> None:
    standin = StandIn()
    service = Kms(standin.url, TOKEN)
    text = key_file(service)
    app = Celery("clinic", broker="memory://", backend="cache+memory://")
    milepost = Milepost(app, store="memory://", keys=open_keys(lambda: text, unwrap=service.unwrap))

    @app.task(base=EncryptedTask)
    def greet(name: str) -> str:
        return f"Hello, {name}"

    job = milepost.jobs.create(greet.name, {"name": "Ada"})
    print("in the record:", "Ada" if b"Ada" in job.message else "ciphertext")
    print("returned:", greet.apply(("Ada",)).get())
    print("the service was asked:", ", ".join(standin.asked))
    standin.close()


if __name__ == "__main__":
    main()
