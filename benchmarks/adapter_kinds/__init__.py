"""Every kind of adapter, trained by four methods from one base, as one table."""
