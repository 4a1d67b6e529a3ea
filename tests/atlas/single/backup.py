"""A backup is taken while the server runs, and restored: what is there?"""
