"""The sections of the studies' report, one module a study: results to words, tables and figures."""
