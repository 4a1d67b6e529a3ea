"""Nobody listens, or the name is misspelt: is that confirmed?"""
