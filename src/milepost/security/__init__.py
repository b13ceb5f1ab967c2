"""Who may do what to jobs, and what jobs may be given."""
