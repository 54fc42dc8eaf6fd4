"""The nouns: address, envelope, recipient, status, outcome. Values only: no I/O, no clock, no chance."""
