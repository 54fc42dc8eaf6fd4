"""Instances that have no queue: a store that only hears LMTP answers for every recipient and keeps nothing to try again.

A full MTA with a store has one. Whoever asks about the queue of such a store should look on the relays.
"""

from posthouse.config.configuration import load
from posthouse.config.fault import ConfigurationError
from posthouse.config.instance import Instance

NO_QUEUE = "no queue: this store only hears LMTP; mail it has not taken waits on the relays"
_IMAGES = frozenset({"tcp_lmtp_server", "tcp_lmtpn_server"})


def has_no_queue(instance: Instance) -> bool:
    """Whether the instance is a store only and nothing of an earlier life stands in its queue."""
    from posthouse.dispatcher.children import queues

    try:
        configuration = load(instance)
    except (ConfigurationError, OSError):
        return False
    if queues(configuration) or not any(each.enabled and each.image in _IMAGES for each in configuration.dispatcher.services):
        return False
    return not any(path.is_file() and path.name[0] != "." for path in instance.queue.rglob("*"))
