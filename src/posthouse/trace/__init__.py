"""The transaction log: one typed record for each thing that happens to a recipient or a connection."""
