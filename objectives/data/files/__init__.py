"""Files of this machine as texts, lines and tables of cells."""
