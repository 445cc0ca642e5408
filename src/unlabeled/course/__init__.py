"""What the course asks for beside the report: the notebook, the archive."""
