"""A worker dies with messages in hand: when do they come again?"""
