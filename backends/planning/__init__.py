"""The plan of a step: its memory, its loops, and what each of several threads does."""
