"""SMTP and LMTP as state machines: bytes in, events and bytes out. No I/O, no clock, no chance."""
