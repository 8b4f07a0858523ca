"""The sections of the page, one module each: run data in, blocks out."""
