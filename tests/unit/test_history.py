"""The lines of a job's history: what goes in comes out, and what is cut is cut at a line."""

from milepost import history
from milepost.history import Act, Entry


def test_lines_come_back():
    entries = (
        Entry(1764000000.123, "pause", "ann", "lunch"),
        Entry(1764000001.0, "crash", "w1:7", "SIGKILL: exitcode -9"),
        Entry(1764000002.5, "resume"),
    )
    assert history.read(history.written(entries)) == entries


def test_nothing_comes_of_nothing():
    assert history.read(None) == history.read("") == ()
    assert history.written(()) == ""


def test_what_would_break_a_line_is_taken_out():
    entries = history.with_entry((), 1.0, Act.PAUSE, "a\tb\nc\r\0d", "é\ud800" + "x" * 500)
    (entry,) = history.read(history.written(entries))
    assert entry == entries[0]
    assert entry.by == "a b c  d"
    assert len(entry.note) == history.NOTE_LENGTH


def test_a_long_history_loses_its_oldest_lines_whole():
    entries = tuple(Entry(1764000000.0 + n, "pause", "x" * 150, str(n)) for n in range(90))
    text = history.written(entries)
    assert len(text) <= history.LONGEST
    kept = history.read(text)
    assert kept == entries[-len(kept) :]
    assert len(kept) > 30


def test_a_history_of_values_is_bounded_too():
    entries = ()
    for n in range(500):
        entries = history.with_entry(entries, float(n), "pause", "", str(n))
    assert entries[-1].note == "499"
    assert len(entries) == history.MOST == 100
