"""What people see on a terminal: names made safe, progress, how the command ends."""
