"""The LMTP server of the store (LMTP chapter 16.5): sessions, Table 16-1, and the worker program of the Dispatcher."""
