"""The server stands still while a producer publishes: what does the producer learn?"""
