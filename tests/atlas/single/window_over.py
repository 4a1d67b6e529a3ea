"""The same message comes again when the broker's memory of it is over"""
