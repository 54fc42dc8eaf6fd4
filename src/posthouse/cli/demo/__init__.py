"""`posthouse demo`: one relay and two stores on loopback, the samples of this folder, and where each recipient ended."""
