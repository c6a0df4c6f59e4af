"""Every preference loss on one task whose gold reward is known, as one table."""
