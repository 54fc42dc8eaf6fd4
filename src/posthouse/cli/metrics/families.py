"""The families of an instance (logging.md 6, dispatcher-cnf.md 5). Pure.

Labels have few values: channels and services are configuration, codes, states and reasons are fixed.
"""

from collections.abc import Iterable, Iterator

from posthouse.cli.metrics.facts import Facts, Waiting
from posthouse.cli.metrics.text_format import Family, Labels, Sample
from posthouse.dispatcher.trouble import WHATS
from posthouse.trace.figures import KINDS, RECEIVED, Rows, Waited, kinds, quota_refused, replies, waited

_STATES = ("starting", "running", "stopping", "stopped")
_TROUBLES = tuple(what for what in WHATS if what != "host")
_WAITING = ("journal", "file", "held")
_KINDS = {
    "received": "enqueued to the channel",
    "delivered": "dequeued from the channel, those that failed as well",
    "submitted": "enqueued by the channel",
    "attempted": "that could not be dequeued for now, once for each attempt",
    "rejected": "refused before they were enqueued",
    "failed": "returned to their sender or dropped",
}
_UNITS = (("", "Messages"), ("_recipients", "Recipients"), ("_blocks", "Blocks of 1024 octets of messages"))
_CONNECTIONS = ("active", "waiting", "peak")
_SERVICES = (
    ("dispatcher_accepted_total", "Connections accepted.", {"accepted": ""}),
    ("dispatcher_refused_total", "Connections refused.",
     {"refused_port_access": "port_access", "refused_dns": "dns", "refused_address": "address"}),
    ("dispatcher_handed_off_total", "Connections given to a worker.", {"handed_off": ""}),
    ("dispatcher_shed_total", "Idle connections closed for others.", {"shed": ""}),
    ("dispatcher_workers_started_total", "Workers started.", {"started": ""}),
    ("dispatcher_workers_ended_total", "Workers ended, by why.",
     {"expired_conns": "conns", "expired_time": "time", "expired_idle": "idle", "died": "died"}),
)  # fmt: skip


def families(facts: Facts) -> Iterator[Family]:
    """All of them; those without a sample are not known, or not of this tier."""
    yield from _instance(facts)
    yield from _dispatcher(facts.supervised["services"])
    if facts.queue is not None:
        yield from _queue(facts.queue, facts)
    yield from _channels(facts.rows)
    yield from _store(facts.rows)


def _gauge(name: str, purpose: str, samples: Iterable[Sample]) -> Family:
    return Family(name, "gauge", purpose, tuple(samples))


def _counter(name: str, purpose: str, samples: Iterable[Sample]) -> Family:
    return Family(name, "counter", purpose, tuple(samples))


def _instance(facts: Facts) -> Iterator[Family]:
    told = facts.supervised
    yield _gauge("posthouse_ready", "1 when everything serves.", [Sample(int(told["ready"]))])
    state = (Sample(int(told["state"] == each), (("state", each),)) for each in _STATES)
    yield _gauge("posthouse_state", "1 for the state the instance is in.", state)
    seen: dict[Labels, int] = {}
    for each in told["processes"]:
        labels = tuple((name, each[name]) for name in ("role", "service", "state"))
        seen[labels] = seen.get(labels, 0) + 1
    yield _gauge("posthouse_processes", "Processes.", (Sample(number, labels) for labels, number in seen.items()))
    open_ports = (
        Sample(1, (("service", each["service"]), ("address", each["address"]), ("port", str(each["port"]))))
        for each in told["listeners"]
    )
    yield _gauge("posthouse_listener", "1 for each open port.", open_ports)
    if told["state"] == "running":
        whats = [each["what"] for each in told.get("troubles", ())] + list(facts.queue.troubles if facts.queue else ())
        troubles = (Sample(whats.count(what), (("what", what),)) for what in _TROUBLES)
        yield _gauge("posthouse_troubles", "What `status` says is wrong now, but hosts that are down.", troubles)
    if (room := facts.room) is not None:
        yield _gauge("posthouse_disk_free_octets", "Free below data/.", [Sample(room["free"])])
        files = [Sample(room["files"])] if room["files"] is not None else []
        yield _gauge("posthouse_disk_free_files", "Files that can be made below data/.", files)
    faults = "Counter files that cannot be read."
    yield _gauge("posthouse_counter_files_unreadable", faults, [Sample(len(facts.faults))])


def _dispatcher(services: dict[str, dict[str, int]]) -> Iterator[Family]:
    connections = (
        Sample(counted[state], (("service", name), ("state", state)))
        for name, counted in services.items()
        for state in _CONNECTIONS
    )
    yield _gauge("dispatcher_connections", "Connections now, and the most there were at once.", connections)
    for name, purpose, figures in _SERVICES:
        samples = (
            Sample(counted[figure], (("service", service), *([("why", why)] if why else [])))
            for service, counted in services.items()
            for figure, why in figures.items()
        )
        yield _counter(name, purpose, samples)


def _queue(queue: Waiting, facts: Facts) -> Iterator[Family]:
    channels = {name for name, row in facts.rows.items() if row[RECEIVED]} | {group.channel for group in queue.groups}
    waiting = dict.fromkeys(((channel, state) for channel in sorted(channels) for state in _WAITING), 0)
    for group in queue.groups:
        waiting[group.channel, group.state] += group.copies
    counts = (Sample(number, (("channel", channel), ("state", state))) for (channel, state), number in waiting.items())
    yield _gauge("queue_files", "Copies that wait.", counts)
    ages = (Sample(round(facts.now - queue.oldest.get(name, facts.now), 3), (("channel", name),)) for name in sorted(channels))
    yield _gauge("queue_oldest_seconds", "Age of the oldest copy that waits and is not held.", ages)
    yield _gauge("queue_unreadable_files", "Queue files that cannot be read.", [Sample(queue.damaged)])
    beyond = "Queue files the job controller has no room for (MAX_MESSAGES)."
    yield _gauge("queue_beyond_files", beyond, [Sample(queue.beyond)])
    if (overdue := queue.overdue) is not None:
        yield _gauge("queue_overdue_files", "Copies that should have been returned for their age.", [Sample(overdue.copies)])
        late = "How long ago the oldest message that should have gone should have gone."
        yield _gauge("queue_overdue_seconds", late, [Sample(overdue.oldest_seconds)])


def _channels(rows: Rows) -> Iterator[Family]:
    labelled = [((("channel", channel),), row) for channel, row in sorted(rows.items())]
    counted = [(labels, kinds(row)) for labels, row in labelled]
    for kind in KINDS:
        for unit, (suffix, noun) in enumerate(_UNITS):
            samples = (Sample(numbers[kind][unit], labels) for labels, numbers in counted)
            yield _counter(f"mta_{kind}{suffix}_total", f"{noun} {_KINDS[kind]}.", samples)
    times = [(labels, waited(row)) for labels, row in labelled]
    yield _times(
        "mta_queue_seconds", "Time in the queue of copies that left it.", [(labels, all_) for labels, (all_, _) in times]
    )
    purpose = "Time in the queue of copies that left it at the first attempt."
    yield _times("mta_queue_first_time_seconds", purpose, [(labels, first) for labels, (_, first) in times])


def _times(name: str, purpose: str, times: list[tuple[Labels, Waited]]) -> Family:
    known = [(labels, time) for labels, time in times if time.copies]
    sums = (Sample(time.seconds, labels, "_sum") for labels, time in known)
    return Family(name, "summary", purpose, (*sums, *(Sample(time.copies, labels, "_count") for labels, time in known)))


def _store(rows: Rows) -> Iterator[Family]:
    given = [each for each in map(replies, rows.values()) if any(each.values())]
    codes = {code: sum(each[code] for each in given) for code in given[0]} if given else {}
    samples = (Sample(number, (("code", str(code or "other")),)) for code, number in codes.items())
    yield _counter("lmtp_replies_total", "Final replies of the store, one for each recipient.", samples)
    refused = sum(map(quota_refused, rows.values()))
    purpose = "Recipients the store refused for their quota, for now or for good."
    yield _counter("store_quota_refused_total", purpose, [Sample(refused)] if given or refused else [])
