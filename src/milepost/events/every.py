"""All that can happen, as one type."""

from typing import TypeAlias

from milepost.events import gates, jobs, moves

Event: TypeAlias = (
    jobs.JobStarted
    | jobs.CheckpointSaved
    | jobs.JobSettled
    | jobs.LeaseLost
    | jobs.DeliveryDropped
    | jobs.JobExpired
    | jobs.JobRecovered
    | gates.CircuitChanged
    | gates.PermissionDecided
    | moves.JobRouted
    | moves.FlagSourceFailed
    | moves.ShadowCompared
    | moves.ShadowFailed
    | moves.RollbackStepped
)
