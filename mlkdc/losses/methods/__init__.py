"""One file per paper family; each registers its terms and methods when imported."""
