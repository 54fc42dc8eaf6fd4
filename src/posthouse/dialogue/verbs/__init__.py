"""The commands a server hears, one file for each verb; `table.py` is the list."""
