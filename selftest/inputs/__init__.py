"""Input as other people bring it, odd or wrong: files, layouts, tables, targets, losses, streams, studies."""
