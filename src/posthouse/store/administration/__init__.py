"""An administrator's work on mailboxes, safe beside running deliveries: list, quota, check, move, remove, copy."""
