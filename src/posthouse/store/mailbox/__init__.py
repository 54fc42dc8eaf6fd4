"""Mailboxes on disk: Maildir++ folders, names, sizes and the faults a mailbox can have. No codes, no protocol."""
