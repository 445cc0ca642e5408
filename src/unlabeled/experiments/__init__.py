"""How runs are made: tasks said in values, what computes them, and how they are spread."""
