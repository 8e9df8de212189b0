"""The command line and what it prints: arguments, streams, tables, numbers and times."""
