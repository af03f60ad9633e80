"""What the commands print: tables, texts and progress."""
