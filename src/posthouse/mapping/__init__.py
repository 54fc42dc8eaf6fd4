"""Mapping tables: pattern, template, probe. Pure: no I/O, no clock, no chance; what a template needs is asked for."""
