"""Sieve scripts of channels: `sourcefilter`, `destinationfilter` and `channelfilter` of imta.cnf (imta-cnf.md 3.2).

    sourcefilter URL         for mail that comes in on the channel
    destinationfilter URL    for mail that goes to the channel; `channelfilter` is another name for it, the last one counts

    URL = file:PATH / file://PATH / PATH          a path relative to the config folder, or `NAME:rest` as in imta_tailor

A file that cannot be read or is not UTF-8 is an error, as is another kind of URL. The scripts are read with the configuration,
so a reload takes new ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from posthouse.config.channel import Channel
from posthouse.config.imta_cnf import ImtaCnf
from posthouse.config.source import Source
from posthouse.config.tailor import Tailor


class Side(StrEnum):
    """Which way a message goes through the channel."""

    SOURCE = "sourcefilter"
    DESTINATION = "destinationfilter"


_KEYWORDS = (("sourcefilter", Side.SOURCE), ("destinationfilter", Side.DESTINATION), ("channelfilter", Side.DESTINATION))


@dataclass(frozen=True, slots=True)
class ChannelFilter:
    """One script."""

    channel: str
    side: Side
    script: str = field(repr=False)
    name: str
    """of its file, as written"""
    file: str
    """where the channel stands"""
    line: int


def read_channel_filters(imta: ImtaCnf, tailor: Tailor, source: Source) -> tuple[ChannelFilter, ...]:
    """The scripts of all channels."""
    return tuple(one for channel in imta.channels.values() for one in _of(channel, tailor, source))


def _of(channel: Channel, tailor: Tailor, source: Source) -> Iterator[ChannelFilter]:
    for keyword, side in _KEYWORDS:
        url = channel.value(keyword)
        if url is None:
            continue
        where = f"channel {channel.name}: {keyword} {url}"
        scheme, colon, rest = url.partition(":")
        if colon and scheme.lower() == "file":
            path = tailor.path("/" + rest.lstrip("/") if rest.startswith("//") else rest, tailor.table)
        elif (colon and "//" in rest[:2]) or scheme.lower() in {"ssrd", "data", "ldap"}:
            source.faults.error(channel.file, channel.line, f"{where}: only files are read, file:PATH")
            continue
        else:
            path = tailor.path(url, tailor.table)
        source.note(path)
        try:
            script = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            source.faults.error(channel.file, channel.line, f"{where}: {reason}")
            continue
        yield ChannelFilter(channel.name, side, script, url, channel.file, channel.line)
