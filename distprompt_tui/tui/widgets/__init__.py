"""The parts of the screens: each draws one thing from a frozen value that it is shown."""
