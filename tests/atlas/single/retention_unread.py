"""Retention ends while a consumer is behind: are unread messages deleted?"""
