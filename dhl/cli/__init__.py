"""The command line: each command reads files, calls the library and writes files."""
