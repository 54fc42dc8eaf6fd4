"""Quota: the limits of an owner and the decision whether one more message may come in. No files, no clock."""
