"""A worker takes and takes, and acknowledges nothing: what stops it?"""
