"""What sources of data have in common: splits, tables of rows, data sets of the Hub."""
