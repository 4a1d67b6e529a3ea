"""The server is restarted politely: what do its clients see, and what is there afterwards?"""
