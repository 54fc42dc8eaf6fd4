"""`posthouse store ...`: mailboxes of a store. Each sub-command is one module, imported only when it is asked for.

The owner is `uid` in the default domain and `uid@domain` elsewhere; `uid@<default domain>` is `uid`. Every command works
beside running deliveries and on a stopped store. Exit codes are those of sysexits(3): 0 done, 64 wrong usage, 65 what was
given cannot be used or faults are left, 66 no such file, 67 no such mailbox, 73 it cannot be made, 74 the disk failed, 75 try
again: somebody works on it, 78 bad configuration.
"""

from cyclopts import App

app = App(name="store", help="Mailboxes of a store.")
for _name, _module, _help in (
    ("create", "creating", "Make a mailbox."),
    ("path", "creating", "Print the Maildir++ root of a mailbox."),
    ("list", "listing", "Show mailboxes: folders, messages, octets."),
    ("quota", "quota", "Show or set quotas."),
    ("check", "check", "Find and repair faults of mailboxes."),
    ("delete", "moving", "Remove mailboxes."),
    ("rename", "moving", "Give a mailbox to another owner."),
    ("move", "partition", "Move mailboxes to another partition."),
    ("export", "exporting", "Copy a mailbox out of the store."),
    ("import", "importing", "Copy an archive into a mailbox."),
    ("dovecot-config", "dovecot", "Print a Dovecot configuration for the mailboxes."),
    ("recover", "journal", "Put back what an unclean stop left, without starting the store."),
):
    _function = {"list": "list_", "import": "import_"}.get(_name, _name.replace("-", "_"))
    app.command(f"posthouse.cli.store.{_module}:{_function}", name=_name, help=_help)
