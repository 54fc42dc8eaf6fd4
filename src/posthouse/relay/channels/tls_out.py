"""TLS of a channel that goes out, by SMTP or LMTP: its keywords and the files of its option file (imta-cnf 3.2).

    maytls musttls notls              and their ...client forms, which count before the others
    TLS_CA_FILE                       PEM file below the configuration's folder, or `system`: whose certificates are believed
    TLS_CERTIFICATE, TLS_KEY          PEM files: our own certificate, for servers that ask for one

With TLS_CA_FILE a `musttls` channel takes only certificates signed by it for the name of the host. Without it, and with `maytls`,
TLS keeps readers out, not impostors. At a reload, files of the same names that cannot be used any more change nothing.
"""

import asyncio
import ssl
from dataclasses import dataclass, replace
from pathlib import Path

from posthouse.config.channel import Channel
from posthouse.config.configuration import Configuration
from posthouse.config.option_file import OptionFile
from posthouse.config.tls_files import dates_in, load_for_client
from posthouse.dialogue.upgrade import Tls

HANDSHAKE_SECONDS = 60.0
_FILES = ("TLS_CA_FILE", "TLS_CERTIFICATE", "TLS_KEY")


@dataclass(frozen=True, slots=True)
class TlsOut:
    """How a channel uses TLS."""

    tls: Tls
    context: ssl.SSLContext | None
    """None: no mail goes out before `fault` is mended"""
    named: tuple[str, ...] = ()
    """the files, as the options name them"""
    dates: tuple[float, float] | None = None
    """Unix times between which our certificate is good, where there is one"""
    fault: str = ""
    """a file that cannot be used"""


def tls_out(configuration: Configuration, channel: Channel, options: OptionFile, before: TlsOut | None = None) -> TlsOut | None:
    """The channel's way; None: no TLS. `before` is the one until now: it stays where the same files are bad by now."""
    tls, named = tls_of(channel), tuple(options.text(name) for name in _FILES)
    if tls is Tls.NEVER:
        return None
    try:
        context = context_of(configuration, options, tls)
    except OSError as error:
        fault = f"channel {channel.name}: {error}"
        if before is not None and (before.tls, before.named) == (tls, named):
            return replace(before, fault=fault)
        return TlsOut(tls, None, named, fault=fault)
    return TlsOut(tls, context, named, dates_in(file_of(configuration, named[1])) if named[1] else None)


def tls_of(channel: Channel) -> Tls:
    """What the channel's keywords want."""
    for end in ("client", ""):
        for word, tls in (("musttls", Tls.MUST), ("maytls", Tls.MAY), ("notls", Tls.NEVER)):
            if channel.has(word + end):
                return tls
    return Tls.NEVER


def context_of(configuration: Configuration, options: OptionFile, tls: Tls) -> ssl.SSLContext:
    """The client's context.

    Raises:
        OSError: which file cannot be used, and why.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authorities, certificate, key = (options.text(name) for name in _FILES)
    if tls is not Tls.MUST or not authorities:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        authorities = ""
    elif authorities.lower() == "system":
        context.load_default_certs()
        authorities = ""
    load_for_client(context, *(file_of(configuration, name) if name else None for name in (authorities, certificate, key)))
    return context


def file_of(configuration: Configuration, text: str) -> Path:
    """The file an option names."""
    return configuration.tailor.path(text, configuration.tailor.table)


async def shake_hands(
    transport: asyncio.Transport, protocol: asyncio.Protocol, context: ssl.SSLContext, host: str
) -> asyncio.Transport | str:
    """The transport under TLS, or why there is none; the plain one is cut then."""
    loop = asyncio.get_running_loop()
    try:
        secured = await loop.start_tls(
            transport, protocol, context, server_hostname=host, ssl_handshake_timeout=HANDSHAKE_SECONDS
        )
    except (OSError, EOFError) as error:  # ssl.SSLError is an OSError
        transport.abort()
        text = f"certificate: {error.verify_message}" if isinstance(error, ssl.SSLCertVerificationError) else str(error)
        return text or type(error).__name__
    if secured is None or secured.is_closing():
        transport.abort()
        return "connection closed within the handshake"
    return secured
