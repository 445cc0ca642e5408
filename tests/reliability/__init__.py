"""Programs that try to break the command: damaged and hostile files, kills, odd surroundings, sanitizers. See ``__main__``."""
