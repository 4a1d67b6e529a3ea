"""The patterns' own snippets on clusters of three: the leader is killed while they work."""
