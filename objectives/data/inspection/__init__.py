"""What data is: formats, columns and tasks are read from files, and their contents described."""
