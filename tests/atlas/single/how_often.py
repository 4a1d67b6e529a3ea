"""How often has this message come? Does the broker tell?"""
