"""Models of public libraries, fitted in an environment of their own; only files pass between it and the program."""
