"""A simulation of events: relays, stores, a directory and the world outside, with the relay's own schedule. No clock, no I/O.

clock.py      the heap of events                 directory.py  searches: together, on the way, in time
stations.py   cores and disks with their queues  relay.py      accepts, schedules, sends
load.py       batches, costs, sizes              store.py      takes what is sent
senders.py    the world outside, which tries again             scenario.py  faults, and what came of them
"""
