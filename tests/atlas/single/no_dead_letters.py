"""A message is given up, and the place for dead letters is missing"""
