"""Which copy of which message is tried when, by which session: the schedule, and the process that keeps it."""
