"""The server is killed right after a confirm: is the message there?"""
