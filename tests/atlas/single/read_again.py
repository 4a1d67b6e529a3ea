"""Yesterday's messages have to be read once more"""
