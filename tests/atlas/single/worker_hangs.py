"""A worker hangs, with its connection open: when does another get its message?"""
