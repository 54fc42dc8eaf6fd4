"""`python -m posthouse.ims_ms`: the worker of a pool with a channel to this machine's store; it serves the pool's others too."""

from posthouse.dispatcher.family import leave
from posthouse.ims_ms.deliveries import open_store
from posthouse.relay.channels.command import main

if __name__ == "__main__":
    leave(main("posthouse.ims_ms", open_store))
