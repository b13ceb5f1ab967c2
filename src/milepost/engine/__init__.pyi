from milepost.engine.attempt import begin, run_attempt
from milepost.engine.drain import DrainFlag, never
from milepost.engine.endings import RESULT_NOT_KEPT, Completed, Dropped, Ending, Stopped, Unclaimed
from milepost.engine.lease import outwait
from milepost.engine.loops import CursorLoop, Every, KeyLoop, PositionLoop, pace_of
from milepost.engine.mapping import run_map
from milepost.engine.plan import Plan
from milepost.engine.recovery import RETRY, Keeper
from milepost.engine.scope import EXPLICIT
from milepost.engine.steps import call_step
from milepost.engine.stored import parked
from milepost.engine.throwaway import ThrowawayStore
from milepost.engine.work import Attempt

__all__ = [
    "EXPLICIT",
    "RESULT_NOT_KEPT",
    "RETRY",
    "Attempt",
    "Completed",
    "CursorLoop",
    "DrainFlag",
    "Dropped",
    "Ending",
    "Every",
    "Keeper",
    "KeyLoop",
    "Plan",
    "PositionLoop",
    "Stopped",
    "ThrowawayStore",
    "Unclaimed",
    "begin",
    "call_step",
    "never",
    "outwait",
    "pace_of",
    "parked",
    "run_attempt",
    "run_map",
]
