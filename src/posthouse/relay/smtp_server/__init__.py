"""The relay's SMTP server: one session for each connection, one file for each decision.

`session` drives the dialogue; `mail`, `rcpt` and `data` decide what is answered; `program` is the worker's process:
configuration, directory, journal and the announcements to the job controller.
"""
