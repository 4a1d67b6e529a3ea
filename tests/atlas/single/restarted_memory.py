"""The server restarts between a message and its copy: does it still know the id?"""
