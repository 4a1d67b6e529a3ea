"""What the pages of the brokers say of their defaults, asked of the servers themselves."""
