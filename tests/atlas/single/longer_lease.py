"""Work takes longer than the lease: can a worker ask for more time?"""
