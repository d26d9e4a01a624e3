"""The command line; imports are lazy so that `--help` answers at once."""
