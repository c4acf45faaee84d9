"""Studies and demonstrations: no part of the product."""
