//! Receivers: each a pure rendering of a notification and a thin send.
