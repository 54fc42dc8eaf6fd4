"""Delivery: DURABILITY protocols 6, 7 and R. One transaction in, one result for each recipient out."""
