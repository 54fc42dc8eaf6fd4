"""Files of TLS that cannot be used are named."""

import re
import ssl
from pathlib import Path

import pytest
import trustme

from posthouse.config.tls_files import load_for_client


def test_the_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("relay1.example.com")
    whole, alone, empty = tmp_path / "whole.pem", tmp_path / "alone.pem", tmp_path / "empty.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(whole)
    issued.cert_chain_pems[0].write_to_path(alone)
    empty.touch()
    cases = [
        (None, whole, None, ""), (None, alone, whole, ""), (None, alone, None, f"{alone}: "),
        (None, alone, empty, f"{alone} with {empty}: "), (empty, whole, None, f"{empty}: "),
    ]  # fmt: skip
    for authorities, certificate, key, named in cases:
        context = ssl.create_default_context()
        if not named:
            load_for_client(context, authorities, certificate, key)
            continue
        with pytest.raises(OSError, match=f"^{re.escape(named)}"):
            load_for_client(context, authorities, certificate, key)
