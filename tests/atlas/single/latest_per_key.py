"""Only the latest message of each key is of interest"""
