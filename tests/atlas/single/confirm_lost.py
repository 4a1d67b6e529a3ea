"""The confirm gets lost and the producer sends again: is the message there twice?"""
