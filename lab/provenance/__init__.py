"""Where a result came from: versions, machine, command and code, so that it can be made again."""
