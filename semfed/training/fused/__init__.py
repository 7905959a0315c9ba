"""Training steps written out for certain types of networks; the numbers are those of autograd up to rounding."""
