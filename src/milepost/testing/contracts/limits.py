"""How much all may ask of somebody together."""

from concurrent.futures import ThreadPoolExecutor

from milepost.errors import ConfigurationError, LimitExceededError
from milepost.limits import Admitted, Limit, Permit, Wait
from milepost.store import Store
from milepost.testing.contracts.base import StoreCase, raises


class LimitsContract(StoreCase):
    """Never more than allowed in any window, nothing held for ever."""

    def admitted(self, store: Store, key: str, limit: Limit, tokens: int = 0) -> Permit:
        answer = store.limits.acquire(key, limit, tokens)
        assert isinstance(answer, Admitted), answer
        assert (answer.permit.key, answer.permit.tokens) == (key, tokens)
        return answer.permit

    def waits(self, store: Store, key: str, limit: Limit, tokens: int = 0) -> Wait:
        answer = store.limits.acquire(key, limit, tokens)
        assert isinstance(answer, Wait), answer
        assert answer.seconds > 0
        return answer

    def test_as_many_requests_as_allowed(self, store: Store) -> None:
        limit = Limit(requests=3)
        permits = {self.admitted(store, "l/requests", limit).id for _ in range(3)}
        assert len(permits) == 3
        wait = self.waits(store, "l/requests", limit)
        assert wait.which == "requests"
        assert 50 < wait.seconds <= limit.per * 82 / 80
        self.admitted(store, "l/others", limit)

    def test_a_wait_is_long_enough(self, store: Store) -> None:
        key, limit = "l/wait", Limit(requests=2, per=0.3)
        for _ in range(2):
            self.admitted(store, key, limit)
        self.elapse(self.waits(store, key, limit).seconds)
        self.admitted(store, key, limit)

    def test_as_many_tokens_as_allowed(self, store: Store) -> None:
        key, limit = "l/tokens", Limit(tokens=100)
        self.admitted(store, key, limit, 60)
        assert self.waits(store, key, limit, 41).which == "tokens"
        self.admitted(store, key, limit, 40)
        self.admitted(store, key, limit, 0)
        assert self.waits(store, key, limit, 1).which == "tokens"

    def test_what_is_refused_takes_nothing(self, store: Store) -> None:
        key, limit = "l/all", Limit(requests=2, tokens=100, concurrency=2)
        self.admitted(store, key, limit, 90)
        for _ in range(5):
            assert self.waits(store, key, limit, 20).which == "tokens"
        self.admitted(store, key, limit, 10)
        assert self.waits(store, key, limit, 0).which == "requests"

    def test_more_than_a_window_holds_is_refused_for_ever(self, store: Store) -> None:
        with raises(LimitExceededError):
            store.limits.acquire("l/large", Limit(tokens=100), 101)
        self.admitted(store, "l/large", Limit(tokens=100), 100)

    def test_what_cannot_be_asked(self, store: Store) -> None:
        for key, tokens in (("", 1), ("l/minus", -1)):
            with raises(ConfigurationError):
                store.limits.acquire(key, Limit(requests=1), tokens)

    def test_less_than_estimated_makes_room(self, store: Store) -> None:
        key, limit = "l/less", Limit(tokens=100)
        permit = self.admitted(store, key, limit, 90)
        store.limits.settle(permit, 30)
        store.limits.settle(permit, 30)
        self.waits(store, key, limit, 71)
        self.admitted(store, key, limit, 70)

    def test_more_than_estimated_takes_room(self, store: Store) -> None:
        key, limit = "l/more", Limit(tokens=100)
        store.limits.settle(self.admitted(store, key, limit, 10), 150)
        assert self.waits(store, key, limit, 1).which == "tokens"

    def test_only_the_first_settlement_counts(self, store: Store) -> None:
        key, limit = "l/once", Limit(tokens=100)
        permit = self.admitted(store, key, limit, 50)
        store.limits.settle(permit, 40)
        store.limits.settle(permit, 0)
        assert self.waits(store, key, limit, 61).which == "tokens"

    def test_a_settlement_after_its_window_changes_nothing(self, store: Store) -> None:
        key, limit = "l/late", Limit(tokens=100, per=0.2)
        old = self.admitted(store, key, limit, 100)
        self.elapse(self.waits(store, key, limit, 100).seconds)
        self.admitted(store, key, limit, 100)
        store.limits.settle(old, 0)
        assert self.waits(store, key, limit, 1).which == "tokens"

    def test_so_many_at_once(self, store: Store) -> None:
        key, limit = "l/two", Limit(concurrency=2)
        first, second = (self.admitted(store, key, limit) for _ in range(2))
        wait = self.waits(store, key, limit)
        assert wait.which == "concurrency"
        assert wait.seconds <= 1.0
        store.limits.release(first)
        store.limits.release(first)
        self.admitted(store, key, limit)
        self.waits(store, key, limit)
        store.limits.release(second)
        self.admitted(store, key, limit)

    def test_a_place_is_given_back_and_the_call_settled_in_one_act(self, store: Store) -> None:
        key, limit = "l/both", Limit(tokens=100, concurrency=1)
        store.limits.release(self.admitted(store, key, limit, 90), 30)
        self.admitted(store, key, limit, 70)
        assert self.waits(store, key, Limit(tokens=100), 1).which == "tokens"
        assert self.waits(store, key, Limit(concurrency=1)).which == "concurrency"

    def test_a_place_that_nobody_renews_lapses(self, store: Store) -> None:
        key, limit = "l/dead", Limit(concurrency=1, lease=0.2)
        dead = self.admitted(store, key, limit)
        self.elapse(0.21)
        assert not store.limits.renew(dead)
        living = self.admitted(store, key, limit)
        assert not store.limits.renew(dead)
        store.limits.release(dead)
        assert store.limits.renew(living)
        self.waits(store, key, limit)

    def test_a_renewed_place_is_kept(self, store: Store) -> None:
        key, limit = "l/long", Limit(concurrency=1, lease=0.6)
        permit = self.admitted(store, key, limit)
        for _ in range(3):
            self.elapse(0.25)
            assert store.limits.renew(permit)
        self.waits(store, key, limit)

    def test_what_holds_no_place_cannot_be_renewed(self, store: Store) -> None:
        permit = self.admitted(store, "l/none", Limit(requests=5))
        assert not store.limits.renew(permit)
        store.limits.release(permit)

    def test_pushed_away(self, store: Store) -> None:
        key, limit = "l/pushed", Limit(requests=100)
        store.limits.push(key, 30.0)
        store.limits.push(key, 0.1)
        wait = self.waits(store, key, limit)
        assert wait.which == "pushed"
        assert 25.0 < wait.seconds <= 30.0
        store.limits.push(key, 300.0)
        assert self.waits(store, key, limit).seconds > 290.0
        self.admitted(store, "l/not-pushed", limit)

    def test_a_push_ends(self, store: Store) -> None:
        key, limit = "l/soon", Limit(requests=1)
        store.limits.push(key, 0.1)
        self.elapse(0.11)
        self.admitted(store, key, limit)

    def test_two_lengths_of_window_under_one_key(self, store: Store) -> None:
        """While a deploy changes the limit, old and new workers ask by turns."""
        key, short, long = "l/deploy", Limit(requests=2, per=0.2), Limit(requests=3, per=20.0)
        self.admitted(store, key, long)
        self.admitted(store, key, short)
        assert self.waits(store, key, short).which == "requests"
        self.admitted(store, key, long)
        self.elapse(0.75)
        self.admitted(store, key, short)
        assert self.waits(store, key, long).which == "requests"

    def test_many_at_once_take_what_there_is(self, store: Store) -> None:
        key, limit = "l/crowd", Limit(requests=10, tokens=300, concurrency=50)

        def ask(_: int) -> bool:
            return isinstance(store.limits.acquire(key, limit, 20), Admitted)

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(ask, range(40))) == 10
