"""`python -m posthouse.relay.channels`: the worker of a pool whose channels all lead elsewhere."""

from posthouse.dispatcher.family import leave
from posthouse.relay.channels.command import main

if __name__ == "__main__":
    leave(main("posthouse.relay.channels"))
