"""The guards that come with milepost: :mod:`~milepost.guards.rate` and
:mod:`~milepost.guards.breaker`."""
