"""The back tier: hears LMTP from the relays and places messages in mailboxes. No directory, no rewriting, no queue."""
