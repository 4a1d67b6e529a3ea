"""An operator deletes a queue that is in use: what do producer and consumer see?"""
