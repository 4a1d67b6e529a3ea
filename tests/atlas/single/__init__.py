"""What one server of each broker does: a file a question, a function a broker and setting."""
