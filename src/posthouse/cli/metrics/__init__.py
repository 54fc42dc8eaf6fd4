"""`posthouse metrics`: what can be measured of an instance, for Prometheus."""
