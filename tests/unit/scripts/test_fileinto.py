"""Folders put into addresses: the examples of source-routes.md 5, and names no address can carry."""

import pytest

from posthouse.relay.scripts.fileinto import folder_address, inbox_address

LMTP, STORE = "@$4O:$U+$S@$D", "$U+$S@$D"


@pytest.mark.parametrize(
    ("keyword", "address", "folder", "made"),
    [
        (LMTP, "@store1.example.com.lmtp:jdoe@lmtpcs-daemon", "Junk", "@store1.example.com.lmtp:jdoe+Junk@lmtpcs-daemon"),
        (
            LMTP, "@store2.example.com.lmtp:SMiller%hosted.example.org+Work@lmtpcs-daemon", "Projects/X",
            "@store2.example.com.lmtp:SMiller%hosted.example.org+Projects/X@lmtpcs-daemon",
        ),
        (STORE, "SMiller%hosted.example.org@ims-ms-daemon", "Junk", "SMiller%hosted.example.org+Junk@ims-ms-daemon"),
        (LMTP, "jdoe@lmtpcs-daemon", "Junk", "jdoe+Junk@lmtpcs-daemon"),
        (LMTP, "@s.lmtp:jdoe@lmtpcs-daemon", "My Folder", '@s.lmtp:"jdoe+My Folder"@lmtpcs-daemon'),
        (LMTP, '@s.lmtp:"jdoe+a b"@lmtpcs-daemon', "c", "@s.lmtp:jdoe+c@lmtpcs-daemon"),
        (LMTP, "@s.lmtp:jdoe@lmtpcs-daemon", "Entwürfe", "@s.lmtp:jdoe+Entw&APw-rfe@lmtpcs-daemon"),
        (LMTP, "@s.lmtp:jdoe@lmtpcs-daemon", "R&D", "@s.lmtp:jdoe+R&-D@lmtpcs-daemon"),
        (LMTP, "@s.lmtp:jdoe@lmtpcs-daemon", "x@evil.test", '@s.lmtp:"jdoe+x@evil.test"@lmtpcs-daemon'),
        (LMTP, "@s.lmtp:jdoe@lmtpcs-daemon", 'a"b>c\\', '@s.lmtp:"jdoe+a\\"b>c\\\\"@lmtpcs-daemon'),
        (None, "@s.lmtp:jdoe@lmtpcs-daemon", "Junk", None),
        (LMTP, "@s.lmtp:jdoe@lmtpcs-daemon", "a\r\nRCPT TO:<x>", None),
        (LMTP, "@s.lmtp:jdoe@lmtpcs-daemon", "a\tb", None),
        (LMTP, "@s.lmtp:jdoe@lmtpcs-daemon", "x" * 2000, None),
    ],
)  # fmt: skip
def test_the_folder_is_the_subaddress(keyword: str | None, address: str, folder: str, made: str | None) -> None:
    assert folder_address(keyword, address, folder, "+") == made


@pytest.mark.parametrize(
    ("address", "made"),
    [
        ("@s.lmtp:jdoe+Work@lmtpcs-daemon", "@s.lmtp:jdoe@lmtpcs-daemon"),
        ('@s.lmtp:"jdoe+My Work"@lmtpcs-daemon', "@s.lmtp:jdoe@lmtpcs-daemon"),
        ("jdoe@lmtpcs-daemon", "jdoe@lmtpcs-daemon"),
    ],
)
def test_the_inbox_has_no_subaddress(address: str, made: str) -> None:
    assert inbox_address(address, "+") == made
