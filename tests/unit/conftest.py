"""What the tests of both SQL databases share."""

import pytest

from services import start_postgres


@pytest.fixture(scope="module")
def server():
    server = start_postgres("-c", "fsync=off")
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/jobs.db"
    return request.getfixturevalue("server").url
