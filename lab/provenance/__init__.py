"""The origin of a result: versions, machine, command and code, so that it can be made again."""
