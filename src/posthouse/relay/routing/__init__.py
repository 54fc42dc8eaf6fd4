"""Where does this address go: rewrite rules, directory entries, delivery options, access tables. No I/O: it asks."""
