"""Two workers share a queue: in which order is the work done?"""
