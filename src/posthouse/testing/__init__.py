"""Fakes and fixtures for those who test against Posthouse, shipped with it."""
