"""What the native service takes from store.conf and from the keywords of its channel (message-store 7).

native.spool    folder of the mailboxes, one file for each user; needed
native.passwd   whom mail is for, in the form of passwd(5); the system's users by default
native.files    the only folder below which `+/path` appends (delivery option `file`); none by default
native.quote    mboxrd (default), mboxo or none
noexquota       keyword of the channel: what exceeds XQUOTA is refused for good; with holdexquota, the default, it waits

Paths are relative to the instance folder.
"""

from dataclasses import dataclass
from pathlib import Path

from posthouse.config.configuration import Configuration
from posthouse.config.fault import ConfigurationError, Fault
from posthouse.store.native.entry import Quoting
from posthouse.store.quota.limits import Limits

IMAGE = "tcp_lmtpn_server"


@dataclass(frozen=True, slots=True)
class NativeSettings:
    """One reading of the configuration."""

    spool: Path
    passwd: Path | None
    files: Path | None
    quoting: Quoting
    bounce: bool
    """what does not fit is refused for good"""
    defaults: Limits


def native_settings(configuration: Configuration, channel: str) -> NativeSettings:
    """The settings of a native service with this channel.

    Raises:
        ConfigurationError: no spool is named, or a file or folder is not there.
    """
    faults = faults_of(configuration)
    if faults:
        raise ConfigurationError(faults)
    conf, root = configuration.store, configuration.instance.root
    known = configuration.imta.channels.get(channel)
    return NativeSettings(
        spool=root / conf.nativespool,
        passwd=root / conf.nativepasswd if conf.nativepasswd else None,
        files=root / conf.nativefiles if conf.nativefiles else None,
        quoting=Quoting(conf.nativequote),
        bounce=known is not None and known.has("noexquota"),
        defaults=Limits(conf.defaultmailboxquota, conf.defaultmessagequota),
    )


def faults_of(configuration: Configuration) -> list[Fault]:
    """What is missing in store.conf."""
    conf, root, file = configuration.store, configuration.instance.root, "config/store.conf"
    if not conf.nativespool:
        return [Fault(file, 0, f"a service with {IMAGE} needs native.spool, the folder of the UNIX mailboxes")]
    faults = []
    if not (root / conf.nativespool).is_dir():
        faults.append(Fault(file, 0, f"native.spool: {conf.nativespool} is no folder"))
    if conf.nativepasswd and not (root / conf.nativepasswd).is_file():
        faults.append(Fault(file, 0, f"native.passwd: {conf.nativepasswd} does not exist"))
    if conf.nativefiles and not (root / conf.nativefiles).is_dir():
        faults.append(Fault(file, 0, f"native.files: {conf.nativefiles} is no folder"))
    return faults


def is_native(configuration: Configuration) -> bool:
    """Whether an enabled service delivers to UNIX mailboxes."""
    return any(service.enabled and service.image == IMAGE for service in configuration.dispatcher.services)


def check(configuration: Configuration) -> list[Fault]:
    """Faults of the native service, where there is one."""
    return faults_of(configuration) if is_native(configuration) else []
