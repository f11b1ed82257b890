"""The array libraries: a file for each, with what it brings that others do not."""
