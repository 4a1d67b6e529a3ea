"""A large backlog was worked off: does its space on the disk come back?"""
