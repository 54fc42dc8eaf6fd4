"""Service sockets, PORT_ACCESS, worker processes: creation, hand-off, retirement; and the family they form."""
