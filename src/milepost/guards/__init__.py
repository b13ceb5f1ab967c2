"""The guards that come with milepost: :mod:`~milepost.guards.rate`,
:mod:`~milepost.guards.breaker`, and both as a task declares them,
:mod:`~milepost.guards.declared`."""
