"""What is kept on disk: whole, named last, verified when it is read, by one process at a time."""
