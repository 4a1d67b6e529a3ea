"""There are more connections than allowed: what does the next one see?"""
