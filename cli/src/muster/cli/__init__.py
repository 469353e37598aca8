"""The operator's command line, and the server in one command."""
