"""The program of channel ims-ms: it stands in both tiers, between the queue of this machine and its store (chapter 16.2)."""
