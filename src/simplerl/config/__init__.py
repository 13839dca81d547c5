"""What may be set: the sections of a configuration, and how a recipe and a command line become one."""
