//! What goes wrong at night: one test for each fault, named after it, each with the figure that must hold.

mod clock;
