"""Clusters of three: machines with a network, disks and power of their own, and servers on them.

A program that needs them runs inside: in network, mount and process namespaces of its own. When it
ends, for whatever reason, the kernel ends every server, link and mount in there. The ports inside
are the brokers' usual ones, and collide with nothing outside.
"""
