"""The exact texts of errors, each provoked on the real server, for the pages of docs/errors/."""
