"""A relay whose channel tcp_local goes out to the world: to sinks and a DNS server of the test."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from posthouse.mail.envelope import Recipient
from support.jobs_relay import BODY, JobsRelay

_BLOCK = "tcp_local smtp mx single_sys subdirs 20 maxjobs 7 pool SMTP_POOL\n"


def set_channel(root: Path, keywords: str, option: str = "", options: str = "") -> None:
    """Give channel tcp_local these keywords, its option file these lines, option.dat those."""
    config = root / "config"
    rules = (config / "imta.cnf").read_text()
    assert _BLOCK in rules
    (config / "imta.cnf").write_text(rules.replace(_BLOCK, f"tcp_local smtp {keywords} subdirs 20 maxjobs 7 pool SMTP_POOL\n"))
    (config / "tcp_local_option").write_text(option)
    with (config / "option.dat").open("a") as file:
        file.write(f"\n{options}\n")


def recipients(*addresses: str, channel: str = "tcp_local", **fields: Any) -> tuple[Recipient, ...]:
    """Recipients of one copy, all of one domain."""
    return tuple(
        Recipient(place, 0, channel, address, address, address.rpartition("@")[2].lower(), **fields)
        for place, address in enumerate(addresses)
    )


async def put(relay: JobsRelay, *addresses: str, body: bytes = BODY, notify: str = "", orcpt: str = "", **fields: Any) -> str:
    """Accept a message for the world; its id."""
    return await relay.put_recipients(recipients(*addresses, notify=notify, orcpt=orcpt), body=body, **fields)


def own_status(copies: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Address to code and enhanced code of what waits."""
    return {
        recipient["original"]: f"{recipient['status']['code']} {recipient['status']['enhanced']}"
        for copy in copies if copy["channel"] == "tcp_local"
        for recipient in copy["recipients"] if recipient["status"]
    }  # fmt: skip


StartOut: TypeAlias = Callable[..., Awaitable[JobsRelay]]
"""the fixture that starts a relay with keywords, option, options, hosts"""
