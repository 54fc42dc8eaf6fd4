"""What the native service takes from store.conf and from the keywords of its channel (message-store 7).

native.spool    folder of the mailboxes, one file for each user; needed
native.passwd   whom mail is for, in the form of passwd(5); the system's users by default
native.files    the only folder below which `+/path` appends (delivery option `file`); none by default
native.quote    mboxrd (default), mboxo or none
noexquota       keyword of the channel: what exceeds XQUOTA is refused for good; with holdexquota, the default, it waits

And from the channel's option file, as the product's native channel has it:

FORCE_CONTENT_LENGTH      1: no quoting of the body, a Content-length field instead (`content_length`)
REPEAT_COUNT, SLEEP_TIME  how often, and after how many seconds each, a locked mailbox is tried; 30 and 2 when only one of
                          them is set. Without both it is tried often, for five seconds
FORWARD_FORMAT, SHELL_TIMEOUT, SHELL_TMPDIR are warned about: forwarding and programs are the relay's.

Paths are relative to the instance folder.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from posthouse.config.configuration import Configuration
from posthouse.config.fault import ConfigurationError, Fault, Severity
from posthouse.store.native.entry import Quoting
from posthouse.store.quota.limits import Limits

IMAGE = "tcp_lmtpn_server"
_TRIES, _PAUSE = "REPEAT_COUNT", "SLEEP_TIME"
_OURS = ("FORCE_CONTENT_LENGTH", _TRIES, _PAUSE)
_OF_PROGRAMS = ("SHELL_TIMEOUT", "SHELL_TMPDIR")
_LONGEST = 300.0
"""seconds: no relay is kept waiting longer for its answer"""


class LockWait(NamedTuple):
    """How a mailbox that another program has locked is waited for.

    Args:
        seconds: how long.
        first, most: the pause after the first try, doubled each time up to the longest.
    """

    seconds: float = 5.0
    first: float = 0.02
    most: float = 0.25


_OFTEN = LockWait()


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
    wait: LockWait = _OFTEN

    def spool_now(self) -> tuple[int, int] | None:
        """Device and inode of the folder the spool's name means now; None: it cannot be had."""
        try:
            found = self.spool.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


def native_settings(configuration: Configuration, channel: str) -> NativeSettings:
    """The settings of a native service with this channel.

    Raises:
        ConfigurationError: no spool is named, or a file or folder is not there.
    """
    faults = [*faults_of(configuration), *_lock_faults(configuration, channel)]
    if faults:
        raise ConfigurationError(faults)
    conf, root = configuration.store, configuration.instance.root
    known = configuration.imta.channels.get(channel)
    return NativeSettings(
        spool=root / conf.nativespool,
        passwd=root / conf.nativepasswd if conf.nativepasswd else None,
        files=root / conf.nativefiles if conf.nativefiles else None,
        quoting=Quoting.LENGTH if configuration.channel_option(channel).integer(_OURS[0], 0) else Quoting(conf.nativequote),
        bounce=known is not None and known.has("noexquota"),
        defaults=Limits(conf.defaultmailboxquota, conf.defaultmessagequota),
        wait=_lock_wait(configuration, channel),
    )


def _lock_wait(configuration: Configuration, channel: str) -> LockWait:
    options = configuration.channel_option(channel)
    if not {_TRIES, _PAUSE} & options.values.keys():
        return _OFTEN
    tries, pause = options.integer(_TRIES, 30), options.number(_PAUSE, 2)
    return LockWait((tries - 1) * pause, pause, pause)


def _lock_faults(configuration: Configuration, channel: str) -> Iterator[Fault]:
    """Numbers of tries and seconds one cannot wait by."""
    options = configuration.channel_option(channel)
    tries, pause = options.integer(_TRIES, 30), options.number(_PAUSE, 2)
    if tries < 1 or pause < 0 or (tries > 1 and not pause) or tries * pause > _LONGEST:
        reason = f"a positive number of tries and seconds, together at most {_LONGEST:g} seconds"
        yield Fault(f"config/{channel}_option", 0, f"{_TRIES} {tries} and {_PAUSE} {pause:g}: {reason}")


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


def check(configuration: Configuration) -> list[Fault]:
    """Faults of the native service, where there is one, and options that nobody reads."""
    native = {each.channel.lower() for each in configuration.dispatcher.services if each.enabled and each.image == IMAGE}
    faults = faults_of(configuration) if native else []
    for channel in sorted(native):
        faults += _lock_faults(configuration, channel)
    for channel, options in sorted(configuration.channel_options.items()):
        reasons = {"FORWARD_FORMAT": "forwards are the directory's, and the relay carries them out"}
        unread = (_OF_PROGRAMS, "the relay runs programs") if channel in native else (_OURS, "only a native service does")
        reasons |= dict.fromkeys(*unread)
        faults += [
            Fault(f"config/{channel}_option", 0, f"{name} is not read: {reason}", Severity.WARNING)
            for name, reason in reasons.items()
            if name in options.values
        ]
    return faults
