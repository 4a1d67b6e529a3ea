"""Messages of one key have to be worked on in order, by several workers"""
