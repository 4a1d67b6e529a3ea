"""A message is larger than allowed: who learns of it?"""
