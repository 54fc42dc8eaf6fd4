"""The directory: from an address to the entry of its user, by LDAP or an LDIF file, with a cache.

Every answer is found, absent or unknown; unknown is always a temporary failure for the sender.
"""
