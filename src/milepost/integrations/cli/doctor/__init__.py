"""What loses work, and whether it is so here: facts are gathered first, then judged."""
