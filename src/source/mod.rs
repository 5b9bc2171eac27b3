//! Where histograms come from. Each source yields polls for the engine; absence of data is an error, never a zero.
