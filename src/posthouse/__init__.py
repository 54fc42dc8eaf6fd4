"""Mail delivery in two tiers: relays that queue durably, stores that hear LMTP.

The path of a message is told in docs/message-path.md; the packages here are its stations:
`dispatcher` -> `relay` (smtp_server, directory, routing, queue, job_controller, channels, notices)
-> `store` (lmtp_server, delivery, quota, mailbox). Below them: `config`, `mapping`, `dialogue`,
`journal`, `trace`, and the nouns in `mail`. Imports go one way; import-linter holds the order.
"""

__version__ = "0.1.0"
