"""What the labs say of the brokers, run and recorded."""
