"""`posthouse store`: an administrator's commands on the mailboxes of a store, one module for each."""
