"""The relay's queue: what was accepted and not yet settled, in the journal and in queue files (docs/queue-states.md)."""
