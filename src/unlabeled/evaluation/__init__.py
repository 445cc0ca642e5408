"""What runs are measured by: features, classical models, folds, statistics, comparisons."""
