"""Delivery status notifications: their octets, and their way into the queue (smtp-relay.md 6)."""
