//! What this node lets us do: one row per check, with what was found and what to do.
