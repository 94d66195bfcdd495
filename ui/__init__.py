"""Settings, command line, page, terminal."""
