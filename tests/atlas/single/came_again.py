"""A message fails and comes again: before or after those that came later?"""
