"""A consumer that comes late: does it get what was published before?"""
