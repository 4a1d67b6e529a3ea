"""A message that always fails: does it end?"""
