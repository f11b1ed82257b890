"""Plans on the CPU in machine code: loops, products, and the threads that share them."""
