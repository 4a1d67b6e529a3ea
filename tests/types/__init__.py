"""What the pages on the types of brokers say, beyond what their snippets print."""
