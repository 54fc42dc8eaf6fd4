"""Users' Sieve scripts on the relay: what they decide becomes targets and tasks. Pure, but for a memory of compiled scripts."""
