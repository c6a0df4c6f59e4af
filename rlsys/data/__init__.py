"""Loading, chat templates and masks, quarantine, streams."""
