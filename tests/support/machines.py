"""Relay and stores of every kind as real processes: LMTP stores, whole MTAs, and both in one (docs/deployments.md).

    with machines(tmp_path, {"store1": Kind.FULL, "store2": Kind.LMTP}, relay_options=("--deliver-by", "smtp")) as tiers:
        tiers.relay, tiers.store("store1")

Stores listen on 127.0.0.2, 127.0.0.3...: all on one LMTP port and one SMTP port. The directory is an LDIF file that is read
again each second; `Directory` writes it.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any

from posthouse.testing.tiers import RunningInstance, free_port, posthouse
from support.journey_tiers import DEFAULTS, DOMAIN, QUICK, append, edit, end, wait_empty
from support.transaction_log import log_records

_CLASSES = "".join(
    f"objectClass: {name}\n" for name in ("top", "inetOrgPerson", "inetUser", "inetMailUser", "inetLocalMailRecipient")
)
_DOMAIN_CLASSES = "objectClass: organization\nobjectClass: sunManagedOrganization\n"


class Kind(Enum):
    """What a store is."""

    LMTP = "LMTP in, mailboxes: figure 16-2"
    FULL = "SMTP in, a queue, ims-ms: figure 16-1"
    BOTH = "a whole MTA with the LMTP service beside it"


@dataclass
class Directory:
    """Users of example.com; each has the address uid@example.com."""

    path: Path
    users: dict[str, dict[str, str]] = field(default_factory=dict)

    def set(self, uid: str, **attributes: str) -> None:
        """Add or change a user; `mailDeliveryOption="mailbox program"` are two values."""
        self.users[uid] = {**self.users.get(uid, {"mailUserStatus": "active"}), **attributes}

    def write(self) -> None:
        """Put the file in its place at once."""
        base = f"o={DOMAIN},o=usergroup"
        parts = [
            "dn: o=usergroup\nobjectClass: organization\no: usergroup\n",
            f"dn: {base}\n{_DOMAIN_CLASSES}o: {DOMAIN}\nsunPreferredDomain: {DOMAIN}\n",
        ]
        for uid, attributes in self.users.items():
            lines = "".join(f"{name}: {value}\n" for name, text in attributes.items() for value in text.split())
            head = f"dn: uid={uid},ou=People,{base}\n{_CLASSES}uid: {uid}\ncn: {uid}\nsn: {uid}\nmail: {uid}@{DOMAIN}\n"
            parts.append(head + lines)
        new = self.path.with_suffix(".new")
        new.write_text("\n".join(parts))
        new.replace(self.path)


@dataclass
class Machines:
    """What runs."""

    relay: RunningInstance
    stores: dict[str, RunningInstance]
    directory: Directory
    lmtp_port: int
    smtp_port: int

    def store(self, name: str) -> RunningInstance:
        return self.stores[name]

    @property
    def instances(self) -> list[RunningInstance]:
        return [*self.stores.values(), self.relay]

    def start(self) -> None:
        for instance in self.instances:
            instance.start()


def _init(
    folder: Path, kind: Kind, address: str, ports: tuple[int, int], common: list[str], options: tuple[str, ...]
) -> RunningInstance:
    lmtp, smtp = ports
    host = ["--host", f"{folder.name}.{DOMAIN}"]
    in_by_lmtp = ["--lmtp", f"{address}:{lmtp}", "--allow", "127.0.0.0/8"]
    if kind is Kind.LMTP:
        posthouse("init", "store", str(folder), *host, "--default-domain", DOMAIN, *in_by_lmtp, *options)
        return RunningInstance(folder, address, lmtp)
    service = in_by_lmtp if kind is Kind.BOTH else []
    others = ["--lmtp-port", str(lmtp)] if {"lmtp", "--lmtp-store"}.intersection(options) else []
    posthouse(
        "init", "full", str(folder), "--smtp", f"{address}:{smtp}", *host, *common, *service,
        "--store-smtp-port", str(smtp), *others, *options,
    )  # fmt: skip
    return RunningInstance(folder, address, smtp)


@contextlib.contextmanager
def machines(
    root: Path, kinds: Mapping[str, Kind], *, users: int = 6, relay_options: tuple[str, ...] = (), start: bool = True,
    options: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> Iterator[Machines]:  # fmt: skip
    """The relay and these stores, user0, user1... spread over them in turn. Everything is ended on the way out.

    Args:
        root: where their folders are made.
        kinds: the stores.
        users: how many.
        relay_options: further ones of `init relay`.
        start: whether they are started.
        options: further ones of `init store` or `init full`, by the store's name.
    """
    directory = Directory(root / "people.ldif")
    names = list(kinds)
    for number in range(users):
        directory.set(f"user{number}", mailHost=f"{names[number % len(names)]}.{DOMAIN}")
    directory.write()
    addresses = {name: f"127.0.0.{number}" for number, name in enumerate(names, 2)}
    ports = free_port("127.0.0.2"), free_port("127.0.0.2")
    resolve = [word for name, address in addresses.items() for word in ("--resolve", f"{name}.{DOMAIN}={address}")]
    common = ["--default-domain", DOMAIN, *resolve]
    source = ["--ldif", str(directory.path)]
    stores = {
        name: _init(root / name, kind, addresses[name], ports, [*common, *source], options.get(name, ()))
        for name, kind in kinds.items()
    }
    port = free_port()
    by_lmtp = [] if "smtp" in relay_options else ["--lmtp-port", str(ports[0])]
    by_smtp = ["--store-smtp-port", str(ports[1])] if relay_options else []
    posthouse(
        "init", "relay", str(root / "relay1"), "--smtp", f"127.0.0.1:{port}", "--host", f"relay1.{DOMAIN}", *common, *source,
        *by_lmtp, *relay_options, *by_smtp,
    )  # fmt: skip
    made = Machines(RunningInstance(root / "relay1", "127.0.0.1", port), stores, directory, *ports)
    for instance in made.instances:
        if (instance.folder / "config" / "aliases").exists():
            edit(instance, "imta.cnf", DEFAULTS, QUICK)
            append(instance, "option.dat", "DNS_SERVERS=127.0.0.1:9\n")
    try:
        if start:
            made.start()
        yield made
    except BaseException:
        print(f"the instances are kept below {root}")
        raise
    finally:
        for instance in made.instances:
            end(instance)


def records(instance: RunningInstance, action: str, channel: str) -> list[dict[str, Any]]:
    return [each for each in log_records(instance.folder) if each["ac"] == action and each["sc"] == channel]


def drained(tiers: Machines) -> None:
    """No queue has anything left."""
    for instance in tiers.instances:
        if (instance.folder / "config" / "aliases").exists():
            wait_empty(instance)
