"""What the server takes from the configuration: store.conf, the service's channel and its option file.

local.hostname         store.conf: this store's name in the greeting and in file names; the system's name by default
LHLO_EXTENSIONS=0      <channel>_option: every LHLO is answered `250 OK`
COMMAND_RECEIVE_TIME   <channel>_option: minutes a client may think before a command, 10
DATA_RECEIVE_TIME      <channel>_option: minutes it may be silent within a message, 5
maytlsserver           channel: STARTTLS is offered where the service has a certificate; musttlsserver: no mail without it
"""

import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from posthouse.config.channel import Channel
from posthouse.config.configuration import Configuration
from posthouse.config.fault import Fault, Severity
from posthouse.config.store_conf import StoreConf
from posthouse.dialogue.policy import ESMTP_RCPT, Policy, lmtp_policy
from posthouse.mail.status import Status
from posthouse.store.delivery.admission import Settings
from posthouse.store.delivery.partitions import PRIMARY
from posthouse.store.mailbox.folder_name import Unwritable
from posthouse.store.quota.decision import QuotaPolicy
from posthouse.store.quota.limits import Limits
from posthouse.store.quota.notification import Notification
from posthouse.trace.options import LogOptions

_EXTENSIONS = ("PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", "SMTPUTF8", "CHUNKING", "IGNOREQUOTA", "XQUOTA", "XDFLG")
_TLS_FIRST = Status(530, "5.7.0", "Must issue a STARTTLS command first")


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """One reading of the configuration."""

    host: str
    policy: Policy
    """in clear"""
    secured: Policy
    """under TLS"""
    delivery: Settings
    default_domain: str
    autocreate: bool
    default_partition: str
    partition_of: Mapping[str, str]
    """owners whose mailboxes are made elsewhere"""
    lenient: bool
    dupcheck: bool
    """XQID is listed: what comes again is not stored again"""
    command_seconds: float
    data_seconds: float
    log_options: LogOptions
    logging_channels: tuple[str, ...]


def server_settings(configuration: Configuration, channel: str, *, certificate: bool = False) -> ServerSettings:
    """The settings of a server whose service names this channel.

    Args:
        configuration: of the store.
        channel: the service's.
        certificate: whether the service has one.
    """
    conf = configuration.store
    options = configuration.channel_option(channel)
    host = conf.hostname or socket.gethostname()
    known = configuration.imta.channels.get(channel)
    policy = replace(
        lmtp_policy(host, (*_EXTENSIONS[:4], f"SIZE {conf.maxmessagesize}", *_EXTENSIONS[4:])),
        max_size=conf.maxmessagesize,
        list_extensions=options.integer("LHLO_EXTENSIONS", 1) != 0,
        known_rcpt_params=ESMTP_RCPT | {"XQUOTA", "XDFLG", "IGNOREQUOTA"},
    )
    return ServerSettings(
        host=host,
        policy=_in_clear(policy, known) if certificate and known is not None else policy,
        secured=policy,
        delivery=Settings(
            QuotaPolicy(conf.quotaenforcement, conf.quotaoverdraft, conf.quotagraceperiod),
            Limits(conf.defaultmailboxquota, conf.defaultmessagequota),
            known is None or known.has("flagtransfer"),
            _notification(conf, host),
            Unwritable.ESCAPED if conf.listescape else Unwritable.REFUSED,
        ),
        default_domain=conf.defaultdomain,
        autocreate=conf.autocreate,
        default_partition=conf.defaultpartition,
        partition_of=conf.partitionof,
        lenient=conf.header_check == "lenient",
        dupcheck=False,
        command_seconds=60 * options.number("COMMAND_RECEIVE_TIME", 10),
        data_seconds=60 * options.number("DATA_RECEIVE_TIME", 5),
        log_options=LogOptions.from_options(configuration.options.integer),
        logging_channels=tuple(name for name, each in configuration.imta.channels.items() if each.logging),
    )


def _notification(conf: StoreConf, host: str) -> Notification | None:
    """How owners are told about their quota: with overdraft when they have passed it, else a warning before (message-store 4)."""
    if not conf.quotanotification or not conf.quotaexceededmsg:
        return None
    percent = 100 if conf.quotaoverdraft else conf.quotawarn
    return Notification(percent, conf.quotaexceededmsginterval, conf.quotaexceededmsg, host, conf.defaultdomain)


def with_xqid(settings: ServerSettings) -> ServerSettings:
    """The settings of a server that tells repeats by XQID (`store.dupcheck`)."""
    return replace(_listing(settings, "XQID"), dupcheck=True)


def _in_clear(policy: Policy, channel: Channel) -> Policy:
    must = channel.has("musttlsserver") or (channel.has("musttls") and not channel.has("maytlsserver"))
    may = must or channel.has("maytlsserver") or channel.has("maytls")
    if not may or channel.has("notlsserver"):
        return policy
    return replace(policy, starttls=True, extensions=(*policy.extensions, "STARTTLS"), barred=_TLS_FIRST if must else None)


def with_xflags(settings: ServerSettings) -> ServerSettings:
    """The settings of a server whose mailboxes keep IMAP flags, where its channel takes flags (`flagtransfer`)."""
    return _listing(settings, "XFLAGS") if settings.delivery.flag_transfer else settings


def with_recipients(settings: ServerSettings, most: int) -> ServerSettings:
    """The settings of a server that takes so many recipients in one transaction."""

    def holding(policy: Policy) -> Policy:
        return replace(policy, max_recipients=most)

    return replace(settings, policy=holding(settings.policy), secured=holding(settings.secured))


def _listing(settings: ServerSettings, parameter: str) -> ServerSettings:
    """The settings with one more parameter of RCPT listed and known."""

    def extended(policy: Policy) -> Policy:
        known = policy.known_rcpt_params | {parameter}
        return replace(policy, extensions=(*policy.extensions, parameter), known_rcpt_params=known)

    return replace(settings, policy=extended(settings.policy), secured=extended(settings.secured))


def check(configuration: Configuration) -> list[Fault]:
    """Faults only the store knows of: an LMTP service whose channel is not there or is no LMTP channel, notices never sent."""
    faults = [*_silent_notices(configuration), *_partitions(configuration)]
    for service in configuration.dispatcher.services:
        if not service.image.lower().endswith("tcp_lmtp_server"):
            continue
        channel = configuration.imta.channels.get(service.channel)
        if channel is None:
            faults.append(Fault(service.file, service.line, f"service {service.name}: no channel {service.channel} in imta.cnf"))
        elif not channel.has("lmtp"):
            reason = f"service {service.name}: channel {channel.name} has no keyword lmtp"
            faults.append(Fault(service.file, service.line, reason, Severity.WARNING))
    return faults


def _partitions(configuration: Configuration) -> Iterator[Fault]:
    """A partition that is named and has no folder: mail for new mailboxes there waits; and links, which are not followed."""
    conf, folder = configuration.store, configuration.instance.store
    file = configuration.instance.name_of(configuration.tailor.table / "store.conf")
    try:
        (folder / PRIMARY).lstat()
    except PermissionError:  # it or a folder above is somebody else's: nothing is known of it
        return
    except OSError:
        pass
    for name in sorted({conf.defaultpartition, *conf.partitionof.values()} - {PRIMARY}):
        if not (folder / name).is_dir():
            yield Fault(file, 0, f"partition {name}: there is no folder {folder / name}", Severity.WARNING)
    for each in filter(os.path.islink, (folder, *sorted(folder.glob("*")))):
        needed = each == folder or each.name == PRIMARY  # without which nothing starts
        reason = f"{each} is a symbolic link, which is not followed: mount the folder there (mount --bind)"
        yield Fault(file, 0, reason, Severity.ERROR if needed else Severity.WARNING)


def _silent_notices(configuration: Configuration) -> Iterator[Fault]:
    """A warning when notices are switched on and something else switches them off."""
    conf = configuration.store
    if not conf.quotanotification:
        return
    file = configuration.instance.name_of(configuration.tailor.table / "store.conf")
    if not conf.quotaexceededmsg:
        reason = "store.quotanotification is on, but store.quotaexceededmsg is empty: no notice is sent"
        yield Fault(file, 0, reason, Severity.WARNING)
    elif conf.quotawarn >= 100 and not conf.quotaoverdraft:
        reason = f"store.quotanotification is on, but nobody gets above store.quotawarn {conf.quotawarn}: no notice is sent"
        yield Fault(file, 0, reason, Severity.WARNING)
