"""The CSV, the statistics, the Markdown page and the plot of a family's results."""
