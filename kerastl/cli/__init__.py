"""The `kerastl` command: one module a command, and the program around them."""
