"""`check` warns of a certificate that clients will refuse for its dates."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from posthouse.config.certificate_dates import dates
from posthouse.config.configuration import load
from posthouse.config.instance import Instance
from support.family_rig import Family

DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("begins", "ends", "words"),
    [
        (-9, -1, "certificate has expired, "), (1, 9, "certificate is not yet valid, before "), (-1, 90, ""),
        (-60, 30, ""), (-80, 10, "certificate ends soon, "), (-1, 6, ""), (-5, 2, "certificate ends soon, "), (-1, 20000, ""),
    ],
)  # fmt: skip
def test_its_dates(tmp_path: Path, begins: int, ends: int, words: str) -> None:
    now = datetime.now(UTC)
    issued = trustme.CA().issue_cert("relay1.example.com", not_before=now + begins * DAY, not_after=now + ends * DAY)
    family = Family(tmp_path / "instance", "TLS_CERTIFICATE=c.pem")
    path = family.instance.root / "config" / "c.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(path)
    path.chmod(0o600)
    said = [fault.reason for fault in load(Instance(family.instance.root)).warnings if "TLS_CERTIFICATE" in fault.reason]
    assert [text[:-20] for text in said] == ([f"TLS_CERTIFICATE: c.pem: {words}"] if words else [])


def test_every_name_that_openssl_knows_for_a_certificate() -> None:
    plain = trustme.CA().cert_pem.bytes().decode()
    assert dates(plain) is not None
    for name in ("X509 CERTIFICATE", "TRUSTED CERTIFICATE"):
        assert dates(plain.replace("CERTIFICATE", name)) == dates(plain)
