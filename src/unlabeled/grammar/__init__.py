"""What a study and its report are declared with: words, parts, tables, figures."""
