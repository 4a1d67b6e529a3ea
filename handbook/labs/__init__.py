"""The labs: notebooks under docs/labs/, plain Python files that run when the site is built."""
