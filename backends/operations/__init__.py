"""The operations of a step: what each computes, and how NumPy is asked for it."""
