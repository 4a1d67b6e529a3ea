"""What each broker guarantees, in a cluster of three: asked by faults, answered by histories.

A cell is one question to one broker in one of its settings. It runs in machines of its own, and
leaves a history of every call, which the checker judges.
"""
