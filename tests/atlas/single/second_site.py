"""A second site gets a copy of all messages: how, and what does it not have?"""
