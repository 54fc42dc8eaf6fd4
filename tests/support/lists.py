"""Users and groups of a journey as LDIF, and the directory they stand in: a file or a slapd of one's own."""

import contextlib
import email
import email.policy
from collections.abc import Iterator, Sequence
from email.message import EmailMessage
from pathlib import Path

from posthouse.testing.tiers import TwoTiers
from support.journey_mail import connect, mailboxes
from support.slapd import Slapd, many_people

DOMAIN = "example.com"
BASE = f"o={DOMAIN},o=usergroup"
HOSTS = (f"store1.{DOMAIN}", f"store2.{DOMAIN}")


def user_dn(number: int) -> str:
    return f"uid=user{number},ou=People,{BASE}"


def group(name: str, **attributes: str | Sequence[str]) -> str:
    """A group `name@example.com`; its mailDeliveryOption is members unless given."""
    structure = "groupOfUniqueNames" if "uniqueMember" in attributes else "organizationalRole"
    given = {"mailDeliveryOption": "members", **attributes}
    lines = [f"dn: cn={name},ou=Groups,{BASE}", f"objectClass: {structure}"]
    lines += ["objectClass: inetMailGroup", "objectClass: inetLocalMailRecipient", "objectClass: inetMailGroupManagement"]
    lines += [f"cn: {name}", f"mail: {name}@{DOMAIN}"]
    for attribute, values in given.items():
        lines += [f"{attribute}: {value}" for value in ([values] if isinstance(values, str) else values)]
    return "\n".join(lines) + "\n"


def person(uid: str, store: int = 1, **attributes: str | Sequence[str]) -> str:
    """A user `uid@example.com` on a store."""
    lines = [f"dn: uid={uid},ou=People,{BASE}"]
    lines += [f"objectClass: {name}" for name in ("inetOrgPerson", "inetUser", "inetMailUser", "inetLocalMailRecipient")]
    lines += ["objectClass: userPresenceProfile", f"cn: {uid}", f"sn: {uid}", f"uid: {uid}", f"mail: {uid}@{DOMAIN}"]
    for attribute, values in {"mailHost": HOSTS[store - 1], **attributes}.items():
        lines += [f"{attribute}: {value}" for value in ([values] if isinstance(values, str) else values)]
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def directory(kind: str, folder: Path, *entries: str, users: int = 6) -> Iterator[list[str]]:
    """Options of `init relay` for user0 ... over two stores and these entries, in an LDIF file or on a slapd."""
    text = "\n".join([many_people(users, stores=HOSTS), *entries])
    if kind == "ldif":
        (folder / "people.ldif").write_text(text)
        yield ["--ldif", str(folder / "people.ldif")]
        return
    with Slapd(folder / "slapd", text) as server:
        yield ["--ldap", server.uri, "--base", "o=usergroup"]


def send(
    tiers: TwoTiers, to: Sequence[str], token: str, *, sender: str = "user0", header: str = "", body: str = "hello\r\n"
) -> str:
    """Offer a message; the reply to the first RCPT that was refused, or to the final dot."""
    client = connect(tiers.relay)
    with contextlib.closing(client):
        client.ehlo()
        origin = sender if "@" in sender or not sender else f"{sender}@{DOMAIN}"
        assert client.mail(origin)[0] == 250
        for one in to:
            code, text = client.rcpt(one if "@" in one else f"{one}@{DOMAIN}")
            if code != 250:
                return f"{code} {text.decode()}"
        fields = f"From: {origin}\r\nTo: {', '.join(one if '@' in one else f'{one}@{DOMAIN}' for one in to)}\r\n"
        message = f"{fields}Subject: {token}\r\nMessage-ID: <{token}@journey.test>\r\n{header}\r\n{body}"
        code, text = client.data(message.encode())
        return f"{code} {text.decode()}"


def mail_of(tiers: TwoTiers, owner: str) -> list[EmailMessage]:
    """What stands in somebody's mailbox, oldest first."""
    found = sorted((each for each in mailboxes(tiers.stores) if each.owner == owner), key=lambda each: each.path.name)
    return [email.message_from_bytes(each.octets, policy=email.policy.SMTP) for each in found]


def owners_of(tiers: TwoTiers, token: str) -> list[str]:
    """Owners of the mailboxes a message stands in, one for each copy, sorted."""
    wanted = f"Message-ID: <{token}@journey.test>".encode()
    return sorted(each.owner for each in mailboxes(tiers.stores) if wanted in each.octets)
