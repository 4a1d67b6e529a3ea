"""The disk is full: is a message confirmed, refused, or neither?"""
