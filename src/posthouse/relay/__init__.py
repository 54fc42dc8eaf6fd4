"""The relay: takes mail from the world, asks the directory, queues durably, hands over to the stores."""
