"""The work is done and the acknowledgement gets lost: who learns of it?"""
