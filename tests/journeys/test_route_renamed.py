"""Every attribute may have another name (option-dat.md 3): a directory with all of them renamed routes like the first one."""

import json
import re
from pathlib import Path
from typing import Any

from posthouse.relay.directory.attributes import DOMAIN_OPTIONS, USER_OPTIONS
from posthouse.testing.tiers import posthouse

PEOPLE = Path(__file__).parent.parent / "data" / "directory" / "people.ldif"
FIXED = {"LDAP_ATTR_DOMAIN1_SCHEMA2", "LDAP_ATTR_DOMAIN2_SCHEMA2", "LDAP_DOMAIN_ATTR_ALIAS"}  # of the domain's own search
NAMES = {option: name for option, name in (USER_OPTIONS | DOMAIN_OPTIONS).items() if option not in FIXED}


def renamed(ldif: str) -> str:
    """The same entries, `x-` before the name of every attribute that has an option."""
    names = {name.lower() for name in NAMES.values()}
    line = re.compile(r"^([A-Za-z][\w-]*)(?=[;:])", re.MULTILINE)
    return line.sub(lambda found: f"x-{found[1]}" if found[1].lower() in names else found[1], ldif)


def routes(folder: Path, ldif: Path, options: str) -> list[Any]:
    made = ["init", "relay", str(folder), "--smtp", "127.0.0.1:2525", "--host", "relay1.example.com"]
    posthouse(*made, "--default-domain", "example.com", "--ldif", str(ldif))
    with (folder / "config" / "option.dat").open("a") as file:
        file.write(options)
    assert "unknown" not in posthouse("check", "--instance", str(folder)).stderr
    found = []
    for address in ("jd+Work@example.com", "ann.smith@example.com", "bob@example.com", "sue@hosted.example.net",
                    "nobody@hosted.example.org", "gone@hosted.example.org", "staff@example.com"):  # fmt: skip
        answer = json.loads(
            posthouse(
                "route", address, "--json", "--at", "2026-07-10", "--from", "x@example.com", "--instance", str(folder),
                check=False,
            ).stdout
        )  # fmt: skip
        found.append({key: value for key, value in answer.items() if key != "steps"})
    return found


def test_renamed_attributes_route_alike(tmp_path: Path) -> None:
    ldif = tmp_path / "renamed.ldif"
    ldif.write_text(renamed(PEOPLE.read_text(encoding="utf-8")), encoding="utf-8")
    assert "\nx-mailHost: store1.example.com\n" in ldif.read_text(encoding="utf-8")
    options = "".join(f"{option}=x-{name}\n" for option, name in NAMES.items())
    plain, other = routes(tmp_path / "plain", PEOPLE, ""), routes(tmp_path / "other", ldif, options)
    assert other == plain
    assert {answer["result"] for answer in plain} == {"deliver", "refuse"}
