"""Sieve (RFC 5228): scripts are compiled once and evaluated on messages. Pure: no I/O, no clock, no chance."""
