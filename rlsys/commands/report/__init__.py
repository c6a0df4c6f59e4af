"""What a run or a recipe came to, as one Markdown page: `write.report`."""
