"""One file per paper family; each registers its terms when imported."""
