"""Envelopes of records: what an older relay wrote is read, with defaults for what it did not know."""

import msgspec

from posthouse.mail.envelope import Envelope, Recipient, as_copy, decode_envelope, encode_envelope


def test_fields_an_older_relay_did_not_write_have_their_defaults() -> None:
    whole = Envelope("A" * 18, "s@x", "tcp_local", "", 1, 5, (Recipient(0, 0, "tcp_lmtpcs", "a@b", "o", imap_flags="\\Seen"),))
    assert decode_envelope(encode_envelope(whole)) == whole
    fields = msgspec.msgpack.decode(encode_envelope(whole))
    fields[6][0] = fields[6][0][:6]
    (old,) = decode_envelope(msgspec.msgpack.encode(fields[:7])).recipients
    assert old == Recipient(0, 0, "tcp_lmtpcs", "a@b", "o")


def test_people_are_shown_orcpt_decoded_or_what_rcpt_named() -> None:
    plain = Recipient(0, 0, "tcp_lmtpcs", "a@b", "Ann+Work@example.com")
    assert plain.asked == "rfc822;Ann+Work@example.com"
    named = msgspec.structs.replace(plain, orcpt="rfc822;team+2Bnews+3D+0Dx@example.org")
    assert named.asked == "rfc822;team+news=+0Dx@example.org"


def test_what_the_first_sender_asked_for_goes_with_a_forwarded_copy_and_not_with_a_lists() -> None:
    first = Envelope("A" * 18, "s@x", "tcp_local", "", 1, 5, (), envid="Q1", ret="FULL")
    for sender, kept in (("SRS0=a=b=x=s@y", True), ("srs1=a=b@y", True), ("owner@y", False), ("SRS0-owner@y", False)):
        copy = as_copy(first, sender)
        assert (copy.sender, copy.envid, copy.ret) == (sender, *(("Q1", "FULL") if kept else ("", "")))
