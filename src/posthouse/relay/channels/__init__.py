"""The programs that empty a channel's queue: LMTP client, process, bitbucket; one worker process for each pool."""
