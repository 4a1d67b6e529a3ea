"""What turns docs/, snippets/ and tests/ into one site."""
