"""The `kerastl` command: a table of commands, and the program around them."""
