"""Was anything lost, done by two at once, done again too often, taken back, or readable?

Pure functions over the evidence; each returns what it found wrong, in words.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator

from storm.evidence import Act, Effect, Evidence

TERMINAL = {"succeeded", "failed", "cancelled"}
KILLS = {"kill child", "kill worker"}
PAUSE_BOUND = 4.0
"""Seconds from a pause to the paused record where nothing else hit the job: a second of
checkpoint interval, an item, and much room for a crowded machine."""


def violations(evidence: Evidence) -> list[str]:
    """Return everything that must not be."""
    found: list[str] = []
    checks = (lost, incomplete, overlapping, redone_too_often, taken_back, slow_pauses, leaked)
    for check in checks:
        found += check(evidence)
    return found


def lost(evidence: Evidence) -> Iterator[str]:
    """Each job ends well, or cancelled if somebody cancelled it."""
    cancelled = {act.job for act in evidence.acts if act.what == "cancel"}
    for sent in evidence.sent:
        status, result = evidence.ends.get(sent.job, ("unknown", None))
        if status == "succeeded" and result != sent.result:
            yield f"{sent.job}: returned {result}, not {sent.result}"
        elif status != "succeeded" and not (status == "cancelled" and sent.job in cancelled):
            yield f"{sent.job}: ended {status}"


def incomplete(evidence: Evidence) -> Iterator[str]:
    """A job that succeeded has done every item."""
    items = _items(evidence)
    for sent in evidence.sent:
        status, _ = evidence.ends.get(sent.job, ("unknown", None))
        if status == "succeeded" and len(items[sent.job]) != sent.items:
            yield f"{sent.job}: {len(items[sent.job])} of {sent.items} items have effects"


def overlapping(evidence: Evidence) -> Iterator[str]:
    """Fences grow, each belongs to one process, and who was overtaken does next to nothing.

    A frozen worker that wakes up may go on until its next write is refused: through the item
    in hand and what lies before its next checkpoint. Any other attempt that shows effects
    after a later one has begun is a second live attempt.
    """
    frozen = frozenset().union(*(act.pids for act in evidence.acts if act.what == "freeze"))
    every = {sent.job: sent.every for sent in evidence.sent}
    for job, effects in _by_job(evidence).items():
        owners: dict[int, int] = {}
        highest, late = 0, Counter[int]()
        for effect in effects:
            if owners.setdefault(effect.fence, effect.pid) != effect.pid:
                yield f"{job}: fence {effect.fence} in two processes"
            if effect.word == "begin" and effect.fence < highest:
                yield f"{job}: fence {effect.fence} begins after {highest}"
            if effect.fence < highest:
                late[effect.fence] += 1
                if effect.pid not in frozen:
                    yield f"{job}: fence {effect.fence} is at work after {highest} has begun"
            highest = max(highest, effect.fence)
        for fence, times in late.items():
            if times > every.get(job, 1) + 1:
                yield f"{job}: overtaken fence {fence} did {times} more items"


def redone_too_often(evidence: Evidence) -> Iterator[str]:
    """What is done again stays within what was not saved yet, once per attempt that ended."""
    items = _items(evidence)
    frozen = frozenset().union(*(act.pids for act in evidence.acts if act.what == "freeze"))
    by_job = _by_job(evidence)
    for sent in evidence.sent:
        redone = sum(times - 1 for times in items[sent.job].values())
        fences = {(effect.fence, effect.pid) for effect in by_job[sent.job]}
        woken = sum(1 for _, pid in fences if pid in frozen)
        bound = (len(fences) - 1) * sent.every + woken
        if redone > max(bound, 0):
            yield f"{sent.job}: {redone} items redone in {len(fences)} attempts, bound {bound}"


def taken_back(evidence: Evidence) -> Iterator[str]:
    """What a record has said of fence, attempts, progress and end is never unsaid."""
    last = {}
    for sample in sorted(evidence.samples):
        before = last.get(sample.job)
        if before is not None:
            for name in ("fence", "attempts", "done"):
                if getattr(sample, name) < getattr(before, name):
                    yield f"{sample.job}: {name} fell from {before} to {sample}"
            if before.status in TERMINAL and sample.status != before.status:
                yield f"{sample.job}: was {before.status}, became {sample.status}"
        last[sample.job] = sample


def slow_pauses(evidence: Evidence) -> Iterator[str]:
    """A pause takes effect in time, unless something else hit the job meanwhile."""
    for act, seconds in clean_pauses(evidence):
        if seconds > PAUSE_BOUND:
            yield f"{act.job}: paused only after {seconds:.1f} s"


def leaked(evidence: Evidence) -> Iterator[str]:
    """What encrypted jobs were given is nowhere; what the others were given shows the search."""
    for place in evidence.secret_places:
        yield f"the word of encrypted jobs can be read in {place}"
    if not evidence.plain_places:
        yield "the search for words does not even find that of the other jobs"


def clean_pauses(evidence: Evidence) -> list[tuple[Act, float]]:
    """Return pauses that nothing else came between, with how long they took."""
    return [
        (act, act.until - act.at)
        for act in evidence.acts
        if act.what == "pause" and act.until and not _disturbed(evidence, act.at, act.until)
    ]


def recoveries(evidence: Evidence, what: str) -> tuple[list[float], list[float]]:
    """Return seconds from each kill to the next effect of each job it hit: clean, and all.

    ``what`` is one of KILLS. Clean are those between which nothing else happened to the
    fleet, so that a living worker and a server were there to carry on.
    """
    clean, every = [], []
    by_job = _by_job(evidence)
    for act in evidence.acts:
        if act.what != what:
            continue
        for job, effects in by_job.items():
            back = _recovery(effects, act)
            if back is None or _asked(evidence, job, act.at, back):
                continue
            every.append(back - act.at)
            if not _disturbed(evidence, act.at, back, besides=act):
                clean.append(back - act.at)
    return sorted(clean), sorted(every)


def redone(evidence: Evidence) -> tuple[int, int]:
    """Return how many items were done more than once, of how many."""
    items = _items(evidence)
    return sum(sum(c.values()) - len(c) for c in items.values()), sum(map(len, items.values()))


def _recovery(effects: list[Effect], act: Act) -> float | None:
    """Return when a job that ran in a killed process went on; None if none did."""
    before = [effect for effect in effects if effect.at <= act.at]
    if not before or before[-1].pid not in act.pids or before[-1].word == "end":
        return None
    fence = max(effect.fence for effect in before)
    return next((e.at for e in effects if e.at > act.at and e.fence > fence), None)


def _asked(evidence: Evidence, job: str, since: float, until: float) -> bool:
    return any(
        act.job == job and act.what in ("pause", "cancel") and act.at < until and act.until > since
        for act in evidence.acts
    )


def _disturbed(evidence: Evidence, since: float, until: float, besides: Act | None = None) -> bool:
    """Whether anything hit the fleet within a span of time."""
    return any(
        act is not besides and not act.job and act.at < until and max(act.until, act.at) > since
        for act in evidence.acts
    )


def _by_job(evidence: Evidence) -> dict[str, list[Effect]]:
    found: dict[str, list[Effect]] = defaultdict(list)
    for effect in evidence.effects:
        found[effect.job].append(effect)
    return found


def _items(evidence: Evidence) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for effect in evidence.effects:
        if effect.word == "item":
            found[effect.job][effect.item] += 1
    return found
