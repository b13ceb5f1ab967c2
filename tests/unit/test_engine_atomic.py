"""atomic(): the item's work and its end are one transaction of the user's own."""

import itertools
import sqlite3

import pytest
from pydantic import BaseModel

from harness import JOB, Bench, Killed, retry
from milepost.errors import CheckpointError, NotTransactionalError
from milepost.model import JobStatus, Signal
from milepost.settings import Settings
from milepost.stores.sql import sqlite
from milepost.testing import FakeClock


class Shop:
    """A user's database, with the store in it."""

    def __init__(self, path):
        self.path = str(path)
        self.clock = FakeClock()
        self.store = sqlite.connect(f"sqlite:///{self.path}", Settings(), self.clock)
        self.db = self.connect()
        self.db.execute("CREATE TABLE done (item)")
        self.db.commit()

    def connect(self):
        return sqlite3.connect(self.path)

    def bench(self, body, **options):
        return Bench(body, clock=self.clock, inner=self.store, **options)

    @property
    def done(self):
        return [item for (item,) in self.connect().execute("SELECT item FROM done ORDER BY rowid")]

    def reset(self):
        self.db.close()
        self.db = self.connect()
        self.db.execute("DELETE FROM done")
        self.db.commit()
        self.store.delete(JOB)


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path / "shop.db")


def carry_to_the_end(bench, shop):
    shop.db.close()  # as the end of the process would
    shop.db = shop.connect()
    if not bench.job.status.is_terminal:
        bench.attempt()
    assert bench.job.status is JobStatus.SUCCEEDED


def kinds(shop):
    """Return loops of each kind whose items are recorded in the shop's transaction."""

    def insert(task, item):
        with task.atomic(shop.db) as session:
            session.execute("INSERT INTO done VALUES (?)", (item,))

    def position(task):
        for item in task.iterate(range(6)):
            insert(task, item)

    def cursor(task):
        source = lambda after: [n for n in range(6) if after is None or n > after][:2]  # noqa: E731
        for item in task.iterate(source, cursor=int):
            insert(task, item)

    def keys(task):
        for item in task.iterate(range(6), key=str):
            insert(task, item)

    def with_steps(task):
        for item in task.iterate(range(6)):
            assert task.step(int, item, name="read") == item
            insert(task, item)

    def nested(task):
        for outer in task.iterate(range(0, 6, 2), name="outer"):
            for inner in task.iterate(range(2), name="inner"):
                insert(task, task.step(lambda n: n, outer + inner, name="sum"))

    def with_state(task):
        for item in task.iterate(range(6)):
            with task.atomic(shop.db) as session:
                task.state["sum"] = task.state.get("sum", 0) + item
                session.execute("INSERT INTO done VALUES (?)", (item,))
        assert task.state["sum"] == 15

    return {f.__name__: f for f in (position, cursor, keys, with_steps, nested, with_state)}


@pytest.mark.parametrize(
    "kind", ["position", "cursor", "keys", "with_steps", "nested", "with_state"]
)
@pytest.mark.parametrize("after", [False, True])
def test_no_item_is_done_twice(shop, kind, after):
    """Killed before or after any write, each item's work is in the database exactly once."""
    body = kinds(shop)[kind]
    for write in range(1, 40):
        shop.reset()
        bench = shop.bench(body)
        reached = bench.die(write, after=after)
        carry_to_the_end(bench, shop)
        assert shop.done == list(range(6)), write
        if not reached:
            break
    assert write > 6


class DyingConnection:
    """A connection whose process dies right before or right after a commit."""

    def __init__(self, connection, bench, at, after):
        self._connection, self._bench = connection, bench
        self._left, self._after = at, after

    def commit(self):
        self._left -= 1
        if self._left == 0 and not self._after:
            self.die()
        self._connection.commit()
        if self._left == 0:
            self.die()

    def die(self):
        self._bench.store.kill()
        self._connection.close()
        raise Killed

    def rollback(self):
        if self._left > 0:
            self._connection.rollback()

    def __getattr__(self, name):
        return getattr(self._connection, name)


@pytest.mark.parametrize("after", [False, True])
def test_no_item_is_done_twice_whenever_the_commit_dies(shop, after):
    """The commit is the moment of truth: before it nothing is done, after it everything."""
    plain = shop.store.commit_in
    for at in range(1, 7):
        shop.reset()
        bench = shop.bench(kinds(shop)["with_steps"])
        bench.inner.commit_in = lambda session, *rest: plain(session._connection, *rest)
        shop.db = DyingConnection(shop.db, bench, at, after)
        with pytest.raises(Killed):
            bench.attempt()
        bench.lapse()
        assert len(shop.done) == at - (not after)
        bench.inner.commit_in = plain
        shop.db = shop.connect()
        bench.attempt()
        assert shop.done == list(range(6))


@pytest.mark.parametrize("where", ["body", "commit"])
def test_an_error_rolls_both_back(shop, where):
    """A failed transaction leaves behind neither the work, nor the position, nor the state."""
    fails = [True]

    def body(task):
        for item in task.iterate(range(4)):
            with task.atomic(shop.db) as session:
                session.execute("INSERT INTO done VALUES (?)", (item,))
                task.state["count"] = task.state.get("count", 0) + 1
                if item == 2 and fails:
                    if where == "body":
                        fails.clear()
                        raise ValueError("not this one")
                    session.execute("PRAGMA foreign_keys = ON")
                    session.execute("INSERT INTO child VALUES (99)")
        return task.state["count"]

    shop.db.executescript(
        "PRAGMA foreign_keys = ON; CREATE TABLE parent (id PRIMARY KEY);"
        "CREATE TABLE child (id REFERENCES parent DEFERRABLE INITIALLY DEFERRED)"
    )
    bench = shop.bench(body, judge=retry)
    with pytest.raises((ValueError, sqlite3.IntegrityError)):
        bench.attempt()
    assert shop.done == [0, 1]
    assert bench.job.progress.done == 2
    fails.clear()
    assert bench.attempt().value == 4
    assert shop.done == [0, 1, 2, 3]


def test_a_failed_transaction_can_be_tried_again(shop):
    """Inside the item, a second try after an error records it once."""

    def body(task):
        for item in task.iterate(range(3)):
            for attempt in range(2):
                try:
                    with task.atomic(shop.db) as session:
                        session.execute("INSERT INTO done VALUES (?)", (item,))
                        if attempt == 0:
                            raise ValueError
                except ValueError:
                    continue
        return task.progress.done

    bench = shop.bench(body)
    assert bench.attempt().value == 3
    assert shop.done == [0, 1, 2]


def test_a_superseded_attempt_is_rolled_back(shop, caplog):
    """A zombie's work does not reach the database, fenced by its own transaction."""

    def body(task):
        for item in task.iterate(range(5)):
            if item == 2:
                bench.take_over()
            with task.atomic(shop.db) as session:
                session.execute("INSERT INTO done VALUES (?)", (item,))

    bench = shop.bench(body)
    assert bench.attempt().reason == "superseded"
    assert shop.done == [0, 1]
    assert "job job: this attempt may no longer write" in caplog.text


def test_a_signal_is_obeyed_after_the_transaction(shop):
    """The item of the transaction is done, then the job stops."""

    def body(task):
        for item in task.iterate(range(5)):
            if item == 2 and task.fence == 1:
                bench.signal(Signal.PAUSE)
            with task.atomic(shop.db) as session:
                session.execute("INSERT INTO done VALUES (?)", (item,))

    bench = shop.bench(body)
    bench.attempt()
    assert bench.job.status is JobStatus.PAUSED
    assert shop.done == [0, 1, 2]
    bench.resume()
    bench.attempt()
    assert shop.done == list(range(5))


@pytest.mark.parametrize(
    "then",
    [
        lambda task, db: task.step(len, "abc"),
        lambda task, db: task.map(str, "abc"),
        lambda task, db: list(task.iterate("abc")),
        lambda task, db: task.atomic(db).__enter__(),
    ],
    ids=["step", "map", "iterate", "atomic"],
)
def test_an_item_ends_with_its_transaction(shop, then):
    """What an item recorded after its end would be taken for the next item's."""

    def body(task):
        for item in task.iterate(range(3), name="rows"):
            with task.atomic(shop.db) as session:
                session.execute("INSERT INTO done VALUES (?)", (item,))
            then(task, shop.db)

    with pytest.raises(CheckpointError, match=r"'rows': atomic\(\) has recorded this item"):
        shop.bench(body).attempt()
    assert shop.done == [0]


@pytest.mark.parametrize(
    "inside",
    [
        lambda task, db: task.step(len, "abc"),
        lambda task, db: list(task.iterate("abc")),
        lambda task, db: task.checkpoint(),
        lambda task, db: task.save_checkpoint(JOB, 1),
        lambda task, db: task.atomic(db).__enter__(),
    ],
    ids=["step", "iterate", "checkpoint", "save", "atomic"],
)
def test_nothing_is_saved_inside_a_transaction(shop, inside):
    """A memo would stay when the transaction that it belongs to is rolled back."""

    def body(task):
        with task.atomic(shop.db) as session:
            session.execute("INSERT INTO done VALUES (1)")
            inside(task, shop.db)

    with pytest.raises(CheckpointError, match=r"inside atomic\(\)"):
        shop.bench(body).attempt()
    assert shop.done == []


def test_outside_a_loop_it_saves_what_is_pending(shop):
    """A transaction of the task's body carries its state."""

    def body(task):
        task.state["paid"] = True
        with task.atomic(shop.db) as session:
            session.execute("INSERT INTO done VALUES (1)")
        if task.fence == 1:
            raise Killed
        return task.state["paid"]

    bench = shop.bench(body)
    with pytest.raises(Killed):
        bench.attempt()
    assert bench.runtime.codec.decode(bench.fields["u"]) == {"paid": True}


def test_a_store_that_is_elsewhere_says_so():
    """Redis and memory have no part in the user's transaction."""
    bench = Bench(lambda task: task.atomic(None).__enter__())
    with pytest.raises(NotTransactionalError, match="memory://"):
        bench.attempt()


class Count(BaseModel):
    n: int = 0


@pytest.mark.parametrize("model", [None, Count])
@pytest.mark.parametrize("when", ["each item", "the last item"])
def test_the_state_is_not_changed_behind_the_transaction(shop, when, model):
    """The item would be recorded as done without its part in the state."""

    def body(task):
        for item in task.iterate(range(3), name="rows"):
            with task.atomic(shop.db) as session:
                session.execute("INSERT INTO done VALUES (?)", (item,))
                task.state  # noqa: B018
            if when == "each item" or item == 2:
                if model is None:
                    task.state["n"] = item + 1
                else:
                    task.state.n = item + 1

    bench = shop.bench(body, state_model=model)
    with pytest.raises(CheckpointError, match=r"'rows': self\.state was changed after atomic\(\)"):
        bench.attempt()
    assert shop.done == ([0] if when == "each item" else [0, 1, 2])
    assert bench.job.progress.done == len(shop.done)


def test_what_was_refused_of_the_state_is_not_saved(shop):
    def body(task):
        for item in task.iterate(range(3)):
            with task.atomic(shop.db) as session:
                session.execute("INSERT INTO done VALUES (?)", (item,))
                task.state["n"] = item
            if item == 1:
                task.state["late"] = True

    bench = shop.bench(body)
    with pytest.raises(CheckpointError, match="was changed after"):
        bench.attempt()
    assert bench.runtime.codec.decode(bench.fields["u"]) == {"n": 1}


@pytest.mark.parametrize("model", [None, Count])
def test_the_state_is_not_first_touched_and_changed_behind_the_transaction(shop, model):
    def body(task):
        for item in task.iterate(range(3)):
            with task.atomic(shop.db) as session:
                session.execute("INSERT INTO done VALUES (?)", (item,))
            if model is None:
                task.state["n"] = 1
            else:
                task.state.n = 1

    with pytest.raises(CheckpointError, match="was changed after"):
        shop.bench(body, state_model=model).attempt()
    assert shop.done == [0]


def test_the_state_is_encoded_twice_a_transaction(shop):
    """To be recorded with it, and to see that nothing changes behind it."""

    def body(task):
        counts = []
        for item in task.iterate(range(9)):
            with task.atomic(shop.db) as session:
                session.execute("INSERT INTO done VALUES (?)", (item,))
                task.state["n"] = item
            counts.append(len(encoded))
        return counts

    bench, encoded = shop.bench(body), []
    encode = bench.runtime.codec.encode

    def count(value):
        if isinstance(value, dict) and "n" in value:
            encoded.append(value)
        return encode(value)

    bench.runtime.codec.encode = count
    assert bench.attempt().value == [2 * n + 1 for n in range(9)]


@pytest.mark.parametrize("model", [None, Count])
def test_the_state_may_be_looked_at_behind_the_transaction(shop, model):
    def body(task):
        for item in task.iterate(range(3)):
            with task.atomic(shop.db) as session:
                session.execute("INSERT INTO done VALUES (?)", (item,))
            assert task.state in ({}, Count())

    assert shop.bench(body, state_model=model).attempt()
    assert shop.done == [0, 1, 2]


def test_a_codec_that_never_writes_the_same_twice_is_no_change(shop):
    """What counts is what is read back."""

    def body(task):
        for item in task.iterate(range(3)):
            with task.atomic(shop.db) as session:
                session.execute("INSERT INTO done VALUES (?)", (item,))
                task.state["n"] = item
        return task.state["n"]

    bench = shop.bench(body)
    encode, spaces = bench.runtime.codec.encode, itertools.count()
    bench.runtime.codec.encode = lambda value: encode(value) + b" " * next(spaces)
    assert bench.attempt().value == 2


def test_an_item_of_a_map_has_no_transaction(shop):
    """Its result is recorded later, so it could be done twice."""

    def work(item):
        with bench.task.atomic(shop.db) as session:
            session.execute("INSERT INTO done VALUES (?)", (item,))

    bench = shop.bench(lambda task: task.map(work, range(3), name="rows"))
    with pytest.raises(CheckpointError, match=r"map 'rows'.*atomic\(\)"):
        bench.attempt()
    assert shop.done == []
