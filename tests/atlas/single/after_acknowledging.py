"""A message was acknowledged: is it still stored?"""
