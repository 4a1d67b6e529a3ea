"""A message is older than its time to live: where does it go?"""
