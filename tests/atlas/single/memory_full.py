"""The server's memory is used up: is a message confirmed, refused, or neither?"""
