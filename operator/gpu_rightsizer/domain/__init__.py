"""The nouns of rightsizing: immutable values with units. Imports nothing of ours and does no I/O."""
