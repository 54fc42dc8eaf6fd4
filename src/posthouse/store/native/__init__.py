"""The native service: LMTP into UNIX mailboxes (mbox files) of this machine's users (message-store 7, LMTP chapter 16.4)."""
