//! Organisations with certification authorities of their own, and what one of them can do to look like another.
