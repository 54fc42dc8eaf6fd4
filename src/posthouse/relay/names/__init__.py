"""The name service (DNS): what the way out asks about domains, and the way in about senders."""
