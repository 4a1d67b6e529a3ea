"""A second worker joins: what becomes of the messages that wait?"""
