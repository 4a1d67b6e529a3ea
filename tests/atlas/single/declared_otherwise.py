"""A new version of a service declares its queue with another setting"""
