"""One reader for each file of an instance's config folder. Frozen values that keep file and line; every fault at once."""
