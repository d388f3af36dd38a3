"""Tasks that make a request: which addresses they may reach, the connection, the answer."""
